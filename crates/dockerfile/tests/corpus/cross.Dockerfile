FROM --platform=$BUILDPLATFORM tonistiigi/xx AS xx
FROM --platform=$BUILDPLATFORM alpine AS build-amd64
FROM --platform=$BUILDPLATFORM alpine AS build-arm64
RUN apk add gcc-aarch64
FROM build-${TARGETARCH} AS build
COPY --from=xx / /
ARG TARGETPLATFORM
RUN xx-cc -o /hello hello.c
FROM --platform=$TARGETPLATFORM scratch AS final
COPY --from=build /hello /
