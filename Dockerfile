# The client of a hospital: connects out, reads one file, sends sums. No MLflow, no open port.
#   docker build -t fl-client -f Dockerfile .
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/medhive
COPY requirements-client.txt /src/
RUN pip --python /opt/medhive/bin/python install --no-deps --requirement /src/requirements-client.txt
# what no client runs: tests, headers and sources of the libraries, Arrow's network server, and
# compiled copies of modules that a client hardly ever loads
RUN cd /opt/medhive/lib/python3.11/site-packages \
    && find numpy scipy sklearn pyarrow joblib Crypto -type d \
        \( -name tests -o -name include -o -name SelfTest \) -prune -exec rm -rf {} + \
    && find . -type f -regex '.*\.\(pyx\|pxd\|pxi\|pyi\|h\|hpp\|c\|cc\|a\)' -delete \
    && rm -rf pyarrow/libarrow_flight.* pyarrow/_flight.* pyarrow/libarrow_python_flight.* \
        sqlalchemy/testing \
    && find sqlalchemy pygments prompt_toolkit wcwidth narwhals Crypto grpc scipy/io scipy/signal \
        scipy/ndimage scipy/cluster -name __pycache__ -prune -exec rm -rf {} +
COPY pyproject.toml README.md LICENSE /src/
COPY medhive /src/medhive
RUN pip --python /opt/medhive/bin/python install --no-deps /src \
    # the site runs one command; those of its libraries stay behind
    && find /opt/medhive/bin -type f ! -name medhive -delete

FROM python:3.11-slim
LABEL org.opencontainers.image.title="MedHive client" org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 medhive \
    && useradd --uid 10001 --gid medhive --create-home --shell /usr/sbin/nologin medhive \
    && install --directory --owner medhive --group medhive --mode 700 /home/medhive/.medhive
COPY --from=build /opt/medhive /opt/medhive
COPY --chmod=755 deploy/docker/client /usr/local/bin/medhive-client
ENV PATH=/opt/medhive/bin:$PATH HOME=/home/medhive FLWR_TELEMETRY_ENABLED=0 \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /home/medhive
# the site's key: keep this volume, and the site stays the same site
VOLUME /home/medhive/.medhive
# healthy: a connection to the server stands (state 01 of a TCP socket)
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD grep -qsE '^ *[0-9]+: \S+ \S+ 01 ' /proc/net/tcp /proc/net/tcp6
ENTRYPOINT ["medhive-client"]
