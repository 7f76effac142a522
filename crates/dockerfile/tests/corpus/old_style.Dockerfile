from ubuntu:14.04
maintainer Some Body <some@example.org>
ENV DEBIAN_FRONTEND noninteractive
env LC_ALL C.UTF-8
run apt-get update && apt-get install -y openssh-server
run mkdir -p /var/run/sshd
add ./start.sh /start.sh
volume /data /logs
workdir data
expose 127.0.0.1:2222:22
cmd /start.sh
cmd ["/start.sh", "-D"]
onbuild add . /app
