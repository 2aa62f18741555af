# The operator's image, built from source: the operator and the agent for workspaces, two
# static binaries and nothing else. It needs neither CA
# certificates (the API server's and the Docker hosts' are configured) nor time zones nor a shell.
#
#   docker build -t berth:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 -t registry.example.com/berth:0.1.0 --push .
#
# Where no registry can be reached, Dockerfile.prebuilt takes a binary that was built outside.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# With an explicit target the flag is for the binary alone: build scripts and procedural macros
# can not be static.
RUN target="$(uname -m)-unknown-linux-gnu" \
    && RUSTFLAGS="-C target-feature=+crt-static" \
       cargo build --release --locked --package berth --bin berth --package berth-agent --bin berth-agent \
         --target "$target" \
    && install -D -t /out "target/$target/release/berth" "target/$target/release/berth-agent"

FROM scratch
COPY --from=build /out/berth /out/berth-agent /
ENV BERTH_CONFIG=/etc/berth/berth.yaml
USER 65532:65532
EXPOSE 8080 8443 8444 8480
ENTRYPOINT ["/berth"]
CMD ["run"]
