FROM python:3.11.14-slim-bookworm

WORKDIR /opt/stanzalake
COPY pyproject.toml constraints.txt README.md ./
COPY ingest ingest
COPY processor processor
COPY query query
COPY stanzalake stanzalake
RUN pip install --no-cache-dir --constraint constraints.txt '.[import]' \
 && useradd --system --home-dir /var/lib/stanzalake --create-home stanzalake

USER stanzalake
VOLUME /var/lib/stanzalake
ENTRYPOINT ["stanzalake"]
CMD ["up"]
