FROM python:3.13-slim AS wheels
RUN --mount=type=bind,source=requirements.txt,target=/tmp/requirements.txt \
    --mount=type=cache,target=/root/.cache/pip \
    pip wheel --wheel-dir /wheels -r /tmp/requirements.txt

FROM python:3.13-slim
RUN --mount=from=wheels,source=/wheels,target=/wheels pip install --no-index /wheels/*.whl
COPY <<-EOF /etc/app.conf
	[server]
	workers = ${WORKERS:-4}
	EOF
COPY <<"EOF" /usr/local/bin/entrypoint.sh
#!/bin/sh
set -e
exec "$@"
EOF
RUN chmod +x /usr/local/bin/entrypoint.sh
VOLUME ["/data"]
STOPSIGNAL SIGINT
ENTRYPOINT ["entrypoint.sh"]
CMD ["gunicorn", "app:app"]
