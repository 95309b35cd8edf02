-- Check: tells `stanzalake check` how this host stands (docs/protocol.md). It is asked on a component's stream,
-- with the handshake's own proof (XEP-0114 §3) and in place of it: whoever is connected stays connected.

local hashes = require "util.hashes";
local now = require "util.time".now;
local set = require "util.set";
local st = require "util.stanza";

local event = module:require "event";
local position = module:require "position";

local xmlns_check = "urn:stanzalake:check:1";

-- Of Prosody 0.12 and 13.
local DEFAULT_STANZA_LIMIT = 512 * 1024;

local function knows_secret(session, token)
	local secret = module:context(session.host):get_option_string("component_secret");
	return secret and hashes.equals(hashes.sha1(session.streamid..secret, true), token);
end

-- The version of the events as the tap writes them.
local function version()
	local line = event.encode {
		position = 0, owner = "", peer = "", peer_resource = "", direction = "", kind = "", contact = "", stanza = "";
	};
	return line:match('"v":(%d+)');
end

local kind = module:require "directory".kind_of(module.host);
local REPLACED = { accounts = "mam", rooms = "muc_mam" };

-- The policy in the words of PROSODY_ARCHIVE_POLICY.
local POLICIES = { always = "true", never = "false", roster = "roster" };

local function sorted_names(namespaces)
	local names = {};
	for name in pairs(namespaces) do names[#names + 1] = name; end
	table.sort(names);
	return table.concat(names, " ");
end

-- What mod_component takes in one stanza of a component.
local function stanza_limit()
	local global = module:context("*");
	local s2s_limit = global:get_option_number("s2s_stanza_size_limit", DEFAULT_STANZA_LIMIT);
	return global:get_option_number("component_stanza_size_limit", s2s_limit);
end

-- For how long mod_muc_mam would keep this component's archives, if that is set; here the services decide.
local function expires_after()
	local period = kind == "rooms" and module:get_option("muc_log_expires_after");
	return period and tostring(period) or nil;
end

-- What is sealed belongs to the host itself, which has no archive: the id proves the key and opens nothing.
local function answer(jid, journal, sequence, settings)
	local clock = position.new_sequence(now, 0):next();
	local component = prosody.hosts[jid].modules.component;
	return st.stanza("checked", {
		xmlns = xmlns_check, version = version(), instance = settings.instance;
		position = ("%d"):format(clock), last = ("%d"):format(sequence.last);
		id = position.new_sealer(settings.id_keys[1])(module.host, clock);
		policy = POLICIES[settings.policy], smart = tostring(settings.smart);
		excluded = sorted_names(settings.exclude_namespaces);
		stanza_limit = ("%d"):format(stanza_limit()), expires_after = expires_after();
		kind = kind, mam = tostring(prosody.hosts[module.host].modules[REPLACED[kind]] ~= nil);
		listed = tostring((set.new(settings.ingest) + set.new(settings.query)):contains(jid));
		connected = tostring(component.connected);
		waiting = ("%d"):format(journal.written - journal.acked), limit = ("%d"):format(settings.journal_limit);
	});
end

local function start(journal, sequence, settings)
	module:hook("stanza/"..xmlns_check..":check", function (data)
		local session, stanza = data.origin, data.stanza;
		if session.type ~= "component_unauthed" then return; end
		if knows_secret(session, stanza:get_text() or "") then
			session.send(answer(session.host, journal, sequence, settings));
		else
			session:close("not-authorized");
		end
		return true;
	end);
end

return { start = start };
