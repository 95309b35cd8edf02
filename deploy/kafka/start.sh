#!/bin/bash
# Starts one of three Kafka brokers, each a controller as well (docker-compose.production.yml).
#
# Clients log in by SCRAM over TLS; brokers know each other by the certificate of deploy/make-certs.sh.
# The image's own script knows neither certificates as PEM nor users in KRaft.
set -euo pipefail
umask 077

properties=$(mktemp)
cat > "$properties" <<END
process.roles=broker,controller
node.id=$BROKER_NODE
controller.quorum.voters=1@kafka:9093,2@kafka-2:9093,3@kafka-3:9093
controller.listener.names=CONTROLLER
listeners=CLIENTS://$BROKER_NAME:9092,CONTROLLER://$BROKER_NAME:9093,BROKERS://$BROKER_NAME:9094
advertised.listeners=CLIENTS://$BROKER_NAME:9092,BROKERS://$BROKER_NAME:9094
listener.security.protocol.map=CLIENTS:SASL_SSL,CONTROLLER:SSL,BROKERS:SSL
inter.broker.listener.name=BROKERS
listener.name.controller.ssl.client.auth=required
listener.name.brokers.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location=/run/inside/kafka.pem
ssl.truststore.type=PEM
ssl.truststore.location=/run/inside/ca.crt
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
log.dirs=/var/lib/kafka/data
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
auto.create.topics.enable=false
END

/opt/kafka/bin/kafka-storage.sh format --ignore-formatted --cluster-id "$KAFKA_CLUSTER_ID" \
    --config "$properties" --add-scram "SCRAM-SHA-512=[name=stanzalake,password=$KAFKA_PASSWORD]"
exec /opt/kafka/bin/kafka-server-start.sh "$properties"
