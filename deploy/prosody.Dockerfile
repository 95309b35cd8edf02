FROM debian:trixie-20251103-slim

RUN apt-get update \
 && apt-get install -y --no-install-recommends prosody lua5.4 lua-socket lua-unbound openssl \
 && rm -rf /var/lib/apt/lists/*
COPY prosody /usr/local/lib/prosody/modules
COPY deploy/probe.lua /usr/local/lib/prosody/probe.lua
COPY deploy/prosody-start.sh /usr/local/bin/prosody-start
COPY deploy/prosody.cfg.lua /etc/prosody/prosody.cfg.lua

VOLUME /var/lib/prosody
EXPOSE 5222 5223 5269 5281
# As root, which reads the certificates of others; Prosody itself runs as the user prosody.
ENTRYPOINT ["prosody-start"]
