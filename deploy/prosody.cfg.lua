-- An example, and what the container runs. ENV_NAME is the environment variable NAME (Prosody 0.12).
daemonize = false
pidfile = "/var/lib/prosody/prosody.pid"
log = "*console"
plugin_paths = { "/usr/local/lib/prosody/modules" }
authentication = "internal_hashed"
-- By this `prosodyctl deluser` erases the archive, too. All else is stored as default_storage says.
storage = { archive = "stanzalake" }
modules_enabled = {
    "blocklist", "carbons", "disco", "ping", "roster", "saslauth", "smacks", "tls", "http_openmetrics",
}
statistics = "internal"
statistics_interval = 15
http_interfaces = { "*" }
http_default_host = ENV_STANZALAKE_HOSTS
-- Prometheus comes from another address of the same network; no port is published.
openmetrics_allow_cidr = "0.0.0.0/0"

component_interfaces = { "*" }
-- An archived stanza comes back wrapped twice: above the largest stanza and its wrapping.
component_stanza_size_limit = 10 * 1024 * 1024
-- A page goes out in several pieces: with nagle the last one waits for the client's acknowledgement.
network_settings = { nagle = false }

VirtualHost(ENV_STANZALAKE_HOSTS)
    modules_enabled = { "stanzalake" } -- in place of "mam"
    stanzalake_id_keys = ENV_STANZALAKE_ID_KEYS
    -- What is archived: the same as the services are told.
    stanzalake_policy = ENV_PROSODY_ARCHIVE_POLICY
    stanzalake_smart = ENV_PROSODY_MAM_SMART_ENABLE
    stanzalake_exclude_namespaces = ENV_PROSODY_ARCHIVE_EXCLUDE_NAMESPACES

Component "ingest.stanzalake"
    component_secret = ENV_STANZALAKE_COMPONENT_SECRET

Component "query.stanzalake"
    component_secret = ENV_STANZALAKE_COMPONENT_SECRET
