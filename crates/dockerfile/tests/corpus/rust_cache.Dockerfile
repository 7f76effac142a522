# syntax=docker/dockerfile:1
# check=skip=SecretsUsedInArgOrEnv
FROM rust:1.90 AS build
WORKDIR /work
ARG SIGNING_KEY
RUN --mount=type=bind,target=. \
    --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    --network=none \
    CARGO_TARGET_DIR=/target cargo build --release --locked --offline && \
    cp /target/release/app /app
FROM debian:trixie-slim
COPY --from=0 /app /usr/local/bin/app
CMD ["app"]
