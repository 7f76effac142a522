#syntax=docker/dockerfile:1.7-labs
ARG BASE=debian
ARG TAG=${TAG_SUFFIX:+stable-}slim
FROM ${BASE}:${TAG} AS all
SHELL ["/bin/bash", "-eo", "pipefail", "-c"]
ARG name="a b" path=/usr/local/bin
ENV short=${path##*/} parent=${path%/*} dashed=${path//\//-} given="${name:?must be given}"
LABEL "quoted key"='$single' version="${short}" \
# in between
  multi="a\
b"
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.org/a.tar /a/
ADD --keep-git-dir=true git@example.org:me/repo.git#main:docs /docs
ADD --unpack=true --chown=1000 archive.tgz /unpacked/
COPY --parents ./src/./lib/*.h /include/
COPY --chmod=u=rwX,go=rX ["with space", "/with space/"]
COPY --from=busybox:1 /bin/busybox /bin/
RUN --security=insecure --device=vendor.com/gpu=all nvidia-smi
RUN --mount=type=ssh --mount=type=tmpfs,target=/t,size=64m --mount=type=secret,id=s,env=SECRET true
WORKDIR /work
WORKDIR relative
USER $short
VOLUME /v1 /v2
EXPOSE 8000-8002/tcp
STOPSIGNAL 9
HEALTHCHECK NONE
ENTRYPOINT ["/entry"]
CMD ["--help"]
ONBUILD RUN echo "from the base"
