"""MedHive's ClientApp: an ordinary Flower app around a site's answer.

Under ``medhive client`` the app runs in the client's own process. On a stock SuperNode the node's
configuration says where the data are::

    flower-supernode … --node-config "site='cleveland' data='/data/cleveland.csv'"

and in Flower's simulation, where a node only knows its partition, the app takes bundled data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod

from medhive.client.answer import Site
from medhive.client.public import keep_details
from medhive.data.bundled import load_partition
from medhive.data.site import load_site
from medhive.errors import Place, SettingError
from medhive.flower.wire import decode_task, encode_reply, from_message, to_record


def client_app(site_of: Callable[[Context], Site], mods: Sequence[Mod] = ()) -> ClientApp:
    """Return a ClientApp whose messages `site_of(context)` answers, inside Flower's `mods`."""
    app = ClientApp(mods=list(mods))

    def answer(message: Message, context: Context) -> Message:
        task = decode_task(from_message(message))
        reply = site_of(context).answer(task)
        return Message(to_record(encode_reply(reply)), reply_to=message)

    app.query()(answer)
    app.train()(answer)
    app.evaluate()(answer)
    return app


def _from_node_config(context: Context) -> Site:
    config = context.node_config
    if "data" in config:
        return _file_site(str(config.get("site", context.node_id)), Path(str(config["data"])))
    if "partition-id" in config:
        return _bundled_site(
            str(context.run_config.get("dataset", "heart-disease")),
            int(config["partition-id"]),
            int(config["num-partitions"]),
        )
    raise SettingError(
        "this node has no data",
        place=Place(setting="--node-config"),
        next_step="start it with --node-config \"site='NAME' data='FILE'\"",
    )


@cache
def _file_site(name: str, data: Path) -> Site:
    return Site(name, partial(load_site, data, site=name))


@cache
def _bundled_site(dataset: str, partition: int, partitions: int) -> Site:
    name, load = load_partition(dataset, partition, partitions)
    return Site(name, load)


app = client_app(_from_node_config, [keep_details])
