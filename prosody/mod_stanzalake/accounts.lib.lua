-- The archives of a VirtualHost's accounts, in place of mod_mam.

local jid = require "util.jid";
local now = require "util.time".now;

local bind = module:require "bind";
local directory = module:require "directory";
local foreign = module:require "foreign";
local forwarding = module:require "forwarding";
local new_opener = module:require "position".new_opener;
local offline = module:require "offline";
local preferences = module:require "preferences";
local retention = module:require "retention";
local tap = module:require "tap";

-- What an account offers through us (XEP-0313 §7, XEP-0059 §4, XEP-0359 §5, XEP-0424 §2, XEP-0431 §2.1,
-- XEP-0430 §2.1).
local FEATURES = {
	"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:mam:2#groupchat-field",
	"urn:xmpp:sid:0", "http://jabber.org/protocol/rsm", "urn:xmpp:message-retract:1",
	"urn:xmpp:message-retract:1#tombstone", "urn:xmpp:fulltext:0", "urn:xmpp:inbox:1",
};

local function on_disco(data)
	for _, feature in ipairs(FEATURES) do
		(data.reply or data.stanza):tag("feature", { var = feature }):up();
	end
end

-- After the handlers that end the account's sessions, so that none of its messages is archived later.
local function watch_removals(requests)
	module:hook_global("user-deleted", function (data)
		if data.host == module.host then requests:erase(jid.join(data.username, data.host), true, "account removal"); end
	end, -1);
end

-- Starts archiving.
--   parts: recorder, sender, sequence, seal, query
-- Returns a table with forwarder, states (of the archives), use (takes the requests) and close.
local function start(parts, settings)
	local forwarder;
	local states = preferences.new(module:open_store("stanzalake_preferences"), function (...)
		forwarder:ask_state(...);
	end, now, settings);
	forwarder = forwarding.new(parts.sender, parts.sequence, parts.query, settings, states);
	tap.new(parts.recorder, parts.sequence, parts.seal, states, settings):start();
	states:start();
	offline.start();
	forwarder:serve_accounts(new_opener(settings.id_keys));
	bind.start(forwarder);
	module:hook("account-disco-info", on_disco);
	foreign.watch();
	if not directory.is_told_of_purges(module.host) then
		module:log("warn", "The archive is not told of accounts that prosodyctl removes: "
			.."storage = { archive = \"stanzalake\" } is missing in the configuration");
	end
	local function use(requests)
		watch_removals(requests);
		retention.offer(requests, function (...) forwarder:ask_state(...); end);
	end
	return { forwarder = forwarder, states = states, use = use, close = function () end };
end

return { replaces = { "mam" }, start = start };
