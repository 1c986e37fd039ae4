# The server and the command line: `docker run IMAGE invite alice` is `pairing-ws invite alice`.
# scripts/deploy/README.md, "In containers", says how to run it; compose.yaml is an example with everything it needs.

FROM python:3.11-slim-bookworm AS build
# Each with the hash in the lock, and nothing is compiled. Wheels only, but for http-ece, which has none: it is pure
# Python, and setuptools makes it one.
COPY requirements.lock /
RUN python -m venv --without-pip /opt/venv \
 && pip --python /opt/venv install --no-cache-dir --disable-pip-version-check \
      --only-binary :all: --no-binary http-ece --require-hashes -r /requirements.lock
COPY pairing_ws /opt/app/pairing_ws
COPY static /opt/app/static
# Here, because the image's user can write in /data alone.
RUN python -m compileall -q /opt/app

FROM python:3.11-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# A fixed number, so that volumes keep their owner from image to image.
RUN groupadd --gid 10001 pairing \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin pairing \
 && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt /opt
USER 10001:10001
# The signing keys, and the database where that is SQLite: both are files in the working directory by default.
WORKDIR /data
VOLUME /data
EXPOSE 8000
# Sockets are told to come back (1012) and calls under way are answered, within 10 s.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8000), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "pairing_ws"]
CMD ["serve", "--host", "0.0.0.0"]
