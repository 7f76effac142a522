FROM alpine AS one
RUN <<EOF
apk add curl
# a comment of the shell's
curl --version
EOF
RUN <<PY python3
print("a", 'b', """c""")
PY
RUN <<-"A" cat >/a && cat <<B >/b
	$not
	replaced
	A
by the shell: $HOME
B
RUN ["/bin/sh", "-c", "echo <<EOF"]
RUN [ "$x" = "" ] && echo a shell after all
COPY <<robots.txt <<humans.txt /www/
User-agent: *
robots.txt
Anybody
humans.txt
ONBUILD COPY <<EOF /later
later
EOF
FROM one
RUN echo done
