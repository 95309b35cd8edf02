FROM python:3.13.9-slim-trixie

WORKDIR /opt/stanzalake
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY ingest ingest
COPY processor processor
COPY query query
COPY stanzalake stanzalake
COPY prosody prosody
COPY share share
COPY deploy/stanzalake.service deploy/stanzalake.service
RUN pip install --no-cache-dir --constraint constraints.txt '.[import]' \
 && useradd --system --home-dir /var/lib/stanzalake --create-home stanzalake \
 && install --directory --owner=stanzalake --mode=750 /var/log/stanzalake

USER stanzalake
VOLUME /var/lib/stanzalake /var/log/stanzalake
ENTRYPOINT ["stanzalake"]
CMD ["up"]
