-- mod_stanzalake: the tap of the Stanzalake message archive, in place of mod_mam.
--
-- Writes archivable messages to a journal on disk, ships the journal to the ingest components, and forwards
-- the users' MAM queries (XEP-0313) to the query components. README.md lists the options.

if not math.type then
	error("mod_stanzalake needs integers of 64 bits, so Lua 5.3 or newer; this is ".._VERSION, 0);
end

-- prosodyctl loads the module without a host, for its commands.
if module.host == "*" then
	module.command = module:require "command".run;
	return;
end

if module:get_host_type() == "component" then
	error("mod_stanzalake archives for accounts, so it belongs to a VirtualHost: remove \"stanzalake\" from the "
		.."modules_enabled of this component", 0);
end

local get_modules_for_host = require "core.modulemanager".get_modules_for_host;
local now = require "util.time".now;

local ahead = module:require "ahead";
local check = module:require "check";
local components = module:require "components";
local directory = module:require "directory";
local foreign = module:require "foreign";
local forwarding = module:require "forwarding";
local heartbeats = module:require "heartbeat";
local inbox = module:require "inbox";
local instance = module:require "instance";
local journals = module:require "journal";
local offline = module:require "offline";
local options = module:require "options";
local position = module:require "position";
local preferences = module:require "preferences";
local requests = module:require "requests";
local sender = module:require "sender";
local tap = module:require "tap";

if get_modules_for_host(module.host):contains("mam") then
	error("mod_stanzalake takes the place of mod_mam: remove \"mam\" from modules_enabled", 0);
end

-- What an account offers through us (XEP-0313 §7, XEP-0059 §4, XEP-0359 §5, XEP-0424 §2, XEP-0431 §2.1).
local features = {
	"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:mam:2#groupchat-field",
	"urn:xmpp:sid:0", "http://jabber.org/protocol/rsm", "urn:xmpp:message-retract:1",
	"urn:xmpp:fulltext:0",
};

local function get_option(name) return module:get_option(name); end

local settings = options.read(get_option, directory.of(module.host));

local journal = journals.open(settings.journal_dir, settings.segment_size, settings.journal_limit);
settings.instance = instance.of(settings.journal_dir);
local sequence = position.new_sequence(now, ahead.recover(journal));

local ingest, query = components.new(settings.ingest), components.new(settings.query);
local shipping = sender.new(journal, sequence, ingest, settings);

local forwarder;
local states = preferences.new(module:open_store("stanzalake_preferences"), function (...)
	forwarder:ask_state(...);
end, now, settings);
forwarder = forwarding.new(shipping, sequence, query, settings, states);

tap.new(journal, sequence, position.new_sealer(settings.id_keys[1]), shipping, states, settings):start();
states:start();
offline.start();
forwarder:start(function () states:resume(); end);
ingest:start(function ()
	shipping:resume();
	states:resume();
end);
check.start(journal, sequence, settings);
requests.new(inbox.new(settings.journal_dir), journal, sequence, shipping, states):start();

local heartbeat = heartbeats.new(journal, shipping, settings);
heartbeat:start();

if not directory.is_told_of_purges(module.host) then
	module:log("warn", "The archive is not told of accounts that prosodyctl removes: "
		.."storage = { archive = \"stanzalake\" } is missing in the configuration");
end

module:hook("account-disco-info", function (data)
	for _, feature in ipairs(features) do
		(data.reply or data.stanza):tag("feature", { var = feature }):up();
	end
end);

local function measure(name, kind, description, initial)
	return module:measure(name, kind, { description = description, initial = initial });
end

measure("journal_limit_bytes", "amount", "Bytes that may wait in the journal", settings.journal_limit);
local waiting = measure("unacknowledged_bytes", "amount", "Bytes that wait in the journal for ingest");
foreign.watch(measure("forbidden", "counter", "Requests for the archives of others, which were refused"));
module:hook_global("stats-update", function () waiting(journal.written - journal.acked); end);

module:hook_global("server-cleanup", function ()
	shipping:save();
	heartbeat:stop();
end);

function module.unload()
	heartbeat:stop();
	forwarder:close();
	shipping:close();
	journal:close();
end
