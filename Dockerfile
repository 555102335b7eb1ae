# docker build -t parley --build-arg VERSION=$(git describe --tags --always) --build-arg COMMIT=$(git rev-parse HEAD) .
# docker run --rm -p 6969:6969 parley
#
# The image holds one static program, the certificates of the authorities that TLS is checked by, and a directory
# for journals. It runs as nobody in particular, also with --read-only.
ARG GO=1.26
FROM golang:${GO} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION
RUN make static ${VERSION:+VERSION=${VERSION}} && mkdir -p /image/state && cp bin/parley /image/

FROM scratch
ARG VERSION=unknown
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="Parley" \
      org.opencontainers.image.description="Request/reply over TCP: serve it, call it, see every exchange" \
      org.opencontainers.image.source="https://github.com/parley-tcp/parley" \
      org.opencontainers.image.documentation="https://github.com/parley-tcp/parley/blob/main/docs/operating.md" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /image/parley /parley
COPY --from=build --chown=65532:65532 /image/state /var/lib/parley
USER 65532:65532
ENV XDG_STATE_HOME=/var/lib
EXPOSE 6969
# A probe that says nothing: it is in no narrative and in no count of sessions.
HEALTHCHECK --interval=15s --timeout=5s --start-period=5s CMD ["/parley", "check", "-q", "--timeout", "3s", "127.0.0.1:6969"]
ENTRYPOINT ["/parley"]
CMD ["server", "6969"]
