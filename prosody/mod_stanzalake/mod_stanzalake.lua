-- mod_stanzalake: the tap of the Stanzalake message archive, in place of mod_mam and mod_muc_mam.
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

local get_modules_for_host = require "core.modulemanager".get_modules_for_host;
local now = require "util.time".now;

local directory = module:require "directory";

local kind = directory.kind_of(module.host);
if not kind then
	error("mod_stanzalake archives accounts and rooms, so it belongs to a VirtualHost or a Component \"...\" \"muc\": "
		.."remove \"stanzalake\" from the modules_enabled of this component", 0);
end

local ahead = module:require "ahead";
local check = module:require "check";
local components = module:require "components";
local heartbeats = module:require "heartbeat";
local inbox = module:require "inbox";
local instance = module:require "instance";
local journals = module:require "journal";
local options = module:require "options";
local position = module:require "position";
local recorder = module:require "recorder";
local requests = module:require "requests";
local sender = module:require "sender";

local archives = module:require(kind);
for _, name in ipairs(archives.replaces) do
	if get_modules_for_host(module.host):contains(name) then
		error(("mod_stanzalake takes the place of mod_%s: remove \"%s\" from modules_enabled"):format(name, name), 0);
	end
end

local function get_option(name) return module:get_option(name); end

local settings = options.read(get_option, directory.of(module.host));

local journal = journals.open(settings.journal_dir, settings.segment_size, settings.journal_limit);
settings.instance = instance.of(settings.journal_dir);
local sequence = position.new_sequence(now, ahead.recover(journal));

local ingest, query = components.new(settings.ingest), components.new(settings.query);
local shipping = sender.new(journal, sequence, ingest, settings);

local archiving = archives.start({
	recorder = recorder.new(journal, shipping), sender = shipping, sequence = sequence, query = query;
	seal = position.new_sealer(settings.id_keys[1]);
}, settings);
local forwarder, states = archiving.forwarder, archiving.states;
forwarder:start(function () states:resume(); end);
ingest:start(function ()
	shipping:resume();
	states:resume();
end);
check.start(journal, sequence, settings);

local incoming = requests.new(inbox.new(settings.journal_dir), journal, sequence, shipping, states);
archiving.use(incoming);
incoming:start();

local heartbeat = heartbeats.new(journal, shipping, settings);
heartbeat:start();

local function measure(name, description, initial)
	return module:measure(name, "amount", { description = description, initial = initial });
end

measure("journal_limit_bytes", "Bytes that may wait in the journal", settings.journal_limit);
local waiting = measure("unacknowledged_bytes", "Bytes that wait in the journal for ingest");
module:hook_global("stats-update", function () waiting(journal.written - journal.acked); end);

module:hook_global("server-cleanup", function ()
	shipping:save();
	heartbeat:stop();
end);

function module.unload()
	heartbeat:stop();
	archiving.close();
	forwarder:close();
	shipping:close();
	journal:close();
end
