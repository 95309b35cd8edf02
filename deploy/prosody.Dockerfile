FROM debian:bookworm-20251103-slim

RUN apt-get update \
 && apt-get install -y --no-install-recommends prosody lua5.4 lua-socket \
 && rm -rf /var/lib/apt/lists/*
COPY prosody /usr/local/lib/prosody/modules
COPY deploy/probe.lua /usr/local/lib/prosody/probe.lua
COPY deploy/prosody.cfg.lua /etc/prosody/prosody.cfg.lua

USER prosody
VOLUME /var/lib/prosody
EXPOSE 5222
CMD ["prosody", "-F"]
