-- The archives of a MUC component's rooms, in place of mod_muc_mam.

local access = module:require "room_access";
local archiving = module:require "room_archiving";
local entries = module:require "room_entries";
local forwarding = module:require "forwarding";
local histories = module:require "room_history";
local moderation = module:require "moderation";
local new_recorder = module:require "foreign".new_recorder;
local new_opener = module:require "position".new_opener;
local tap = module:require "room_tap";

local get_room = module:depends "muc".get_room_from_jid;

-- A room has no preferences, so there is nothing to learn of them; but its history may be missing.
local function states_of(history)
	return {
		erased = function (_, owner)
			local room = get_room(owner);
			if room then room._history = nil; end
		end;
		resume = function () history:resume(); end;
		refresh = function () return true; end;
		refresh_all = function () return true; end;
	};
end

-- A room that is made anew under the name begins with an empty archive.
local function watch_destruction(room_tap, requests)
	module:hook("muc-room-destroyed", function (data)
		if not room_tap:is_empty(data.room) then requests:erase(data.room.jid, false, "room destroyed"); end
	end, 1);
end

-- Starts archiving.
--   parts: recorder, sender, sequence, seal, query
-- Returns a table with forwarder, states (of the archives), use (takes the requests) and close.
local function start(parts, settings)
	local forwarder = forwarding.new(parts.sender, parts.sequence, parts.query, settings);
	local history = histories.new(forwarder, settings.freshness_timeout);
	history:start();
	local open = new_opener(settings.id_keys);
	local room_tap = tap.new(parts.recorder, parts.sequence, parts.seal, open, settings.exclude_namespaces);
	room_tap:start();
	moderation.start(open);
	archiving.start();
	access.start(forwarder, new_recorder());
	entries.start(forwarder);
	return {
		forwarder = forwarder, states = states_of(history);
		use = function (requests) watch_destruction(room_tap, requests); end;
		close = function () history:close(); end;
	};
end

-- mod_muc_moderation looks for messages in mod_muc_mam's store: moderators who ask by its protocol would be told that
-- there are none, though the room's archive has them.
return { replaces = { "muc_mam", "muc_moderation" }, start = start };
