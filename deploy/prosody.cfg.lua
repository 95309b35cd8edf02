-- What the container runs, and an example for a Prosody of your own. ENV_NAME is the environment variable NAME.
daemonize = false
pidfile = "/var/lib/prosody/prosody.pid"
log = { info = "*console" }
plugin_paths = { "/usr/local/lib/prosody/modules" }
certificates = "/var/lib/prosody/certs"
authentication = "internal_hashed"
-- By this `prosodyctl unregister` erases the archive, too. All else is stored as default_storage says.
storage = { archive = "stanzalake" }

modules_enabled = {
    "admin_shell", "blocklist", "bookmarks", "bosh", "carbons", "cloud_notify", "csi_simple", "dialback", "disco",
    "http_openmetrics", "limits", "pep", "ping", "private", "roster", "saslauth", "smacks", "time", "tls", "vcard4",
    "vcard_legacy", "version", "websocket",
}
limits = { c2s = { rate = "10kb/s" }, s2sin = { rate = "30kb/s" } }
c2s_direct_tls_ports = { 5223 }
s2s_secure_auth = true

statistics = "internal"
statistics_interval = 15
http_interfaces = { "*" }
http_default_host = ENV_STANZALAKE_HOSTS
-- Figures are for the network that only Prometheus is on: what comes by a published port is from another one.
openmetrics_allow_cidr = ENV_STANZALAKE_METRICS_SUBNET

component_interfaces = { "*" }
-- A page goes out in several pieces: with nagle the last one waits for the client's acknowledgement.
network_settings = { nagle = false }

VirtualHost(ENV_STANZALAKE_HOSTS)
    modules_enabled = { "stanzalake" } -- in place of "mam"
    stanzalake_id_keys = ENV_STANZALAKE_ID_KEYS
    stanzalake_policy = ENV_PROSODY_ARCHIVE_POLICY
    stanzalake_smart = ENV_PROSODY_MAM_SMART_ENABLE
    stanzalake_exclude_namespaces = ENV_PROSODY_ARCHIVE_EXCLUDE_NAMESPACES

Component("conference." .. ENV_STANZALAKE_HOSTS)("muc")
    modules_enabled = { "stanzalake" } -- in place of "muc_mam"
    stanzalake_id_keys = ENV_STANZALAKE_ID_KEYS
    stanzalake_exclude_namespaces = ENV_PROSODY_ARCHIVE_EXCLUDE_NAMESPACES
    restrict_room_creation = "local"

Component "ingest.stanzalake"
    component_secret = ENV_STANZALAKE_COMPONENT_SECRET

Component "query.stanzalake"
    component_secret = ENV_STANZALAKE_COMPONENT_SECRET
