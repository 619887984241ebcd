# The images of ProtoQueue, one target each: operator, gateway, worker, cli, and standalone, which is all of `protoqueue up`.
#
#   docker build --target operator -t protoqueue/operator .
#
# BASE is any glibc image with Python 3.11 or newer, pip and venv. `worker` is made from it, as its users add to it, and `standalone`,
# which runs workers; the others hold Python, their virtual environment and the libraries these link to, and no shell.
# Equal inputs and an equal SOURCE_DATE_EPOCH give equal files.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
ARG SOURCE_DATE_EPOCH=315532800
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY requirements-build.txt ./
RUN python3 -m venv /opt/build && /opt/build/bin/pip install -q --require-hashes -r requirements-build.txt
COPY hack/image_root.py hack/
COPY worker-sdk worker-sdk
COPY operator operator
COPY gateway gateway
COPY devcluster devcluster
RUN /opt/build/bin/pip wheel -q --no-deps --no-build-isolation -w /wheels ./worker-sdk ./operator ./gateway ./devcluster

FROM build AS operator-files
COPY requirements-operator.txt ./
RUN python3 -m venv --without-pip /opt/venv \
 && /opt/build/bin/pip --python /opt/venv/bin/python install -q --require-hashes -r requirements-operator.txt \
 && /opt/build/bin/pip --python /opt/venv/bin/python install -q --no-deps /wheels/protoqueue-*.whl /wheels/protoqueue_operator-*.whl \
 && /opt/venv/bin/python hack/image_root.py /files \
 && find /files -exec touch -h -d @${SOURCE_DATE_EPOCH} {} +

FROM build AS cli-files
COPY requirements-worker.txt ./
RUN python3 -m venv --without-pip /opt/venv \
 && /opt/build/bin/pip --python /opt/venv/bin/python install -q --require-hashes -r requirements-worker.txt \
 && /opt/build/bin/pip --python /opt/venv/bin/python install -q --no-deps /wheels/protoqueue-*.whl \
 && /opt/venv/bin/python hack/image_root.py /files \
 && find /files -exec touch -h -d @${SOURCE_DATE_EPOCH} {} +

FROM build AS gateway-files
COPY requirements-gateway.txt ./
RUN python3 -m venv --without-pip /opt/venv \
 && /opt/build/bin/pip --python /opt/venv/bin/python install -q --require-hashes -r requirements-gateway.txt \
 && /opt/build/bin/pip --python /opt/venv/bin/python install -q --no-deps /wheels/protoqueue-*.whl /wheels/protoqueue_gateway-*.whl \
 && /opt/venv/bin/python hack/image_root.py /files \
 && find /files -exec touch -h -d @${SOURCE_DATE_EPOCH} {} +

FROM build AS standalone-files
COPY requirements-standalone.txt ./
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install -q --require-hashes -r requirements-standalone.txt \
 && /opt/venv/bin/pip install -q --no-deps /wheels/*.whl \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/venv \
 && mkdir /data && chown 65532:65532 /data \
 && find /opt/venv /data -exec touch -h -d @${SOURCE_DATE_EPOCH} {} +

FROM build AS worker-files
COPY requirements-worker.txt ./
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install -q --require-hashes -r requirements-worker.txt \
 && /opt/venv/bin/pip install -q --no-deps /wheels/protoqueue-*.whl \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/venv \
 && find /opt/venv -exec touch -h -d @${SOURCE_DATE_EPOCH} {} +

FROM scratch AS operator
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ProtoQueue operator" \
      org.opencontainers.image.description="Turns Queues and ConsumerGroups into JetStream assets and scaled workers" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=operator-files /files /
ENV PATH=/opt/venv/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["protoqueue-operator"]
CMD ["run"]

FROM scratch AS gateway
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ProtoQueue gateway" \
      org.opencontainers.image.description="Serves the queues over HTTP" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=gateway-files /files /
ENV PATH=/opt/venv/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["protoqueue-gateway"]

FROM scratch AS cli
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ProtoQueue command line" \
      org.opencontainers.image.description="Looks into queues and dead letters, enqueues and redrives" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=cli-files /files /
ENV PATH=/opt/venv/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8
USER 65532:65532
ENTRYPOINT ["protoqueue"]
CMD ["--help"]

# What a worker's own image begins with:
#   FROM ghcr.io/protoqueue/worker
#   COPY mailer.py .
#   CMD ["mailer:worker"]
FROM ${BASE} AS worker
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ProtoQueue worker" \
      org.opencontainers.image.description="Python with the ProtoQueue SDK, to build workers from" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=worker-files /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8
WORKDIR /app
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["protoqueue", "worker"]

# All of `protoqueue up` in one container, for trying it out: HTTP on 8080, everything it keeps in the volume /data.
#   docker run -p 8080:8080 -v queues:/data ghcr.io/protoqueue/standalone
FROM ${BASE} AS standalone
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ProtoQueue standalone" \
      org.opencontainers.image.description="Queues over HTTP in one container, with NATS, a small Kubernetes API and the operator" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=standalone-files /opt/venv /opt/venv
COPY --from=standalone-files --chown=65532:65532 /data /data
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8
WORKDIR /data
USER 65532:65532
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["protoqueue", "up", "--dir", "/data", "--gateway-host", "0.0.0.0", "--gateway-port", "8080"]
