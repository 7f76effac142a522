FROM debian:trixie-slim

LABEL maintainer="nobody@example.org" \
      org.opencontainers.image.title="a web server"

RUN set -eux; \
	apt-get update; \
	# what is needed and nothing more
	apt-get install -y --no-install-recommends nginx; \

	rm -rf /var/lib/apt/lists/*; \
	ln -sf /dev/stdout /var/log/nginx/access.log; \
	ln -sf /dev/stderr /var/log/nginx/error.log

EXPOSE 80 443/tcp 443/UDP
STOPSIGNAL SIGQUIT
CMD nginx -g 'daemon off;'
