# syntax=docker/dockerfile:1.7
ARG GO_VERSION=1.23

FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-alpine AS deps
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download

FROM deps AS build
ARG TARGETOS TARGETARCH
ARG VERSION=dev
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build,id=go-build-$TARGETARCH \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -ldflags "-X main.version=${VERSION}" -o /out/service ./cmd/service

FROM deps AS lint
RUN go vet ./...

FROM scratch
COPY --from=build --link /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --link --chmod=0755 /out/service /service
USER 65532:65532
EXPOSE 8080/tcp 9090
ENTRYPOINT ["/service"]
