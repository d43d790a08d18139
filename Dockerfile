# gospel-release in a container: the binary, git and ssh for the network, and certificates. It is not root.
#   docker build -t gospel-release .
#   docker run --rm gospel-release promote --rehearse
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin gospel-release

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin release \
    # A checkout that is mounted belongs to somebody else.
    && git config --system --add safe.directory '*'
COPY --from=build /src/target/release/gospel-release /usr/local/bin/gospel-release
ARG VERSION=dev
LABEL org.opencontainers.image.title="gospel-release" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
USER release
WORKDIR /home/release
# A volume here keeps the journals; without it a run is taken up from its shared copy in the cluster.
ENV XDG_STATE_HOME=/home/release/.local/state
ENTRYPOINT ["gospel-release"]
