"""What a server may hear when something goes wrong at a site: nothing about the data."""

from __future__ import annotations

import logging

from flwr.app import Context, Error, Message
from flwr.clientapp.typing import ClientAppCallable

from medhive.errors import DataError, MedHiveError, RefusalError

REFUSED, UNFIT, FAILED = 1001, 1002, 1003
"""Codes of an error reply: the site said no; its data do not fit; something failed."""

_LOG = logging.getLogger("medhive.client")


def public_error(error: Exception) -> Error:
    """Return the error reply for what happened at a site; the text of a `DataError` stays here."""
    if isinstance(error, RefusalError):
        return Error(REFUSED, error.cause)
    if isinstance(error, DataError):
        return Error(UNFIT, "its data do not fit the study (the details are shown at the site)")
    anchor = error.anchor if isinstance(error, MedHiveError) else "internal"
    return Error(FAILED, f"its client failed ({anchor})")


def keep_details(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """Answer, as a Flower mod, an error with what the server may hear, and log the rest here.

    A stock SuperNode sends the text of every exception to the server, and the text of any of them
    may hold a patient's value.
    """
    try:
        return answer(message, context)
    except MedHiveError as error:
        _LOG.error("%s", error)
        return Message(public_error(error), reply_to=message)
    except Exception as error:  # noqa: BLE001
        _LOG.exception("the site's answer failed")
        return Message(public_error(error), reply_to=message)
