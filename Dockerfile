# The image of the API, the worker, the sweeper and the migrations: one image, four commands (docker-compose.yml).
# Not built where it was written, which has no container engine. Its packages were: requirements-server.txt alone runs
# all four, and needs no system library that the base does not have.
#
# The digest is that of public Dockerfiles with this tag; it could not be pulled here. Another base, e.g. a newer patch:
# --build-arg BASE=python:3.11-slim-bookworm
ARG BASE=python:3.11.16-slim-bookworm@sha256:2e32f7d302adc1c37428355c1e646897c0c53f4fd60b6a551245fb90ee129f91

FROM ${BASE} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/venv
COPY requirements-server.txt /
RUN pip --python /opt/venv install --no-deps --require-hashes --only-binary=:all: -r /requirements-server.txt

# The network's weights. The code that fetches them checks them, against the checksums that stand in it.
FROM packages AS weights
COPY requirements-setup.txt /
RUN pip --python /opt/venv install --no-deps --require-hashes --only-binary=:all: -r /requirements-setup.txt
COPY backend/app/__init__.py /app/backend/app/
COPY backend/app/imaging /app/backend/app/imaging
WORKDIR /app/backend
RUN ["/opt/venv/bin/python", "-c", "from pathlib import Path; from app.imaging.weights import ensure_weights; ensure_weights(Path('/models'), None)"]
# Loaded once, so that OpenVINO's form of them lies there, too: at work, the folder is read-only.
RUN ["/opt/venv/bin/python", "-m", "app.imaging.engines.choice", "auto", "/models/isnet-general-use.onnx", "/models"]

FROM ${BASE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="QuickBG" \
      org.opencontainers.image.description="Self-hosted background removal: API, worker and sweeper" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}"
# The only folder that is written to, with /tmp: everything else may be read-only.
RUN groupadd --gid 10001 quickbg \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin quickbg \
    && install -d -o 10001 -g 10001 /logs
COPY --from=packages /opt/venv /opt/venv
# His, so that a volume that is laid over it is, too: EXTRA_MODELS are fetched into it.
COPY --from=weights --chown=10001:10001 /models /models
WORKDIR /app
COPY LICENSE alembic.ini ./
COPY alembic ./alembic
COPY scripts/init_storage.py scripts/create-admin.py scripts/run_cleanup.py scripts/smoke.py ./scripts/
COPY backend/app ./backend/app
# Whatever the umask of the checkout was.
RUN chmod -R a+rX /app && /opt/venv/bin/python -m compileall -q backend alembic
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app/backend \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    ENV=production \
    LOG_DIR=/logs \
    MODEL_CACHE_DIR=/models
USER 10001:10001
EXPOSE 8000
# A worker that gets it finishes what it is doing and hands back the rest; the API and the sweeper take it for SIGTERM.
STOPSIGNAL SIGQUIT
CMD ["python", "-m", "app.api.server", "--host", "0.0.0.0", "--port", "8000"]
