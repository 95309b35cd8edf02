-- mod_stanzalake: the tap of the Stanzalake message archive, in place of mod_mam.
--
-- Writes archivable messages to a journal on disk, ships the journal to the ingest components, and forwards
-- the users' MAM queries (XEP-0313) to the query components. README.md lists the options.

if not math.type then
	error("mod_stanzalake needs integers of 64 bits, so Lua 5.3 or newer; this is ".._VERSION, 0);
end

local get_modules_for_host = require "core.modulemanager".get_modules_for_host;
local path_encode = require "util.datamanager".path_encode;
local now = require "util.time".now;

local components = module:require "components";
local event = module:require "event";
local forwarding = module:require "forwarding";
local journals = module:require "journal";
local options = module:require "options";
local position = module:require "position";
local sender = module:require "sender";
local tap = module:require "tap";

if get_modules_for_host(module.host):contains("mam") then
	error("mod_stanzalake takes the place of mod_mam: remove \"mam\" from modules_enabled", 0);
end

-- What an account offers through us (XEP-0313 §7, XEP-0059 §4, XEP-0359 §5, XEP-0424 §2).
local features = {
	"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:mam:2#groupchat-field",
	"urn:xmpp:sid:0", "http://jabber.org/protocol/rsm", "urn:xmpp:message-retract:1",
};

local function get_option(name) return module:get_option(name); end

local default_directory = ("%s/%s/stanzalake"):format(prosody.paths.data, path_encode(module.host));
local settings = options.read(get_option, default_directory);

local journal = journals.open(settings.journal_dir, settings.segment_size, settings.journal_limit);
local last = math.max(journal.last_position, journal.last_line and event.position_of(journal.last_line) or 0);
local sequence = position.new_sequence(now, last);

local ingest, query = components.new(settings.ingest), components.new(settings.query);
local shipping = sender.new(journal, sequence, ingest, settings);

tap.new(journal, sequence, position.new_sealer(settings.id_keys[1]), shipping):start();
forwarding.new(shipping, sequence, query, settings):start();
ingest:start(function () shipping:resume(); end);

module:hook("account-disco-info", function (data)
	for _, feature in ipairs(features) do
		(data.reply or data.stanza):tag("feature", { var = feature }):up();
	end
end);

local waiting = module:measure("unacknowledged_bytes", "amount");
module:hook_global("stats-update", function () waiting(journal.written - journal.acked); end);
module:hook_global("server-cleanup", function () shipping:save(); end);

function module.unload()
	shipping:close();
	query:close();
	journal:close();
end
