-- Room entries: what the rooms of a component add to the inbox of an account of this Prosody (XEP-0430 §2.2). Who may
-- read a room is decided here for each, when it is asked about and again when the answer is there.

local st = require "util.stanza";

local access = module:require "room_access";
local is_archived = module:require "room_archiving".is_archived;
local new_turns = module:require "turns".new;

local muc = module:depends "muc";

local xmlns_inbox = "urn:xmpp:inbox:1";
local xmlns_mam = "urn:xmpp:mam:2";

-- Returns the rights of an account in a room that the inbox may show, or nil.
local function rights_in(room_jid, account)
	local room = muc.get_room_from_jid(room_jid);
	if not room or room._data.destroyed or not is_archived(room) then return nil; end
	return (access.rights_of(room, account));
end

-- Whether an answer that was given with the former rights may be shown with the present ones.
local function still_apply(former, present)
	return present and present.whois == former.whois and present.moderator == former.moderator;
end

-- Returns the rooms that are to be asked, those in memory first, as the others are read from Prosody's storage.
local function choose(rooms, limit)
	local live, chosen = {}, {};
	for room in muc.live_rooms() do live[room.jid] = true; end
	for _, wanted in ipairs { true, false } do
		for _, room_jid in ipairs(rooms) do
			if #chosen < limit and (live[room_jid] or false) == wanted then table.insert(chosen, room_jid); end
		end
	end
	return chosen;
end

local function new_iq(data, room_jid)
	return st.iq({ type = "get", id = data.id, from = data.asker, to = room_jid })
		:tag("inbox", { xmlns = xmlns_inbox, messages = not data.messages and "false" or nil });
end

-- Returns the entry in the answer of a room, or nil if it has none.
local function entry_of(room_jid, message, position)
	local element = message:get_child("entry", xmlns_inbox);
	local unread = element and math.tointeger(tonumber(element.attr.unread));
	if not unread or not element.attr.id then return nil; end
	local result = message:get_child("result", xmlns_mam);
	return {
		jid = room_jid, id = element.attr.id, position = position, unread = unread;
		result = result, bytes = result and #tostring(result) or 0;
	};
end

--   answered: called once, with the entry, or with nil
local function ask(forwarder, data, room_jid, answered)
	local rights = rights_in(room_jid, data.account);
	if not rights then return answered(nil); end
	local request = {
		owner = room_jid, asker = data.asker, iq = new_iq(data, room_jid), room = rights;
		displayed = { [room_jid] = data.displayed[room_jid] };
	};
	forwarder:ask_archive(request, function (reply, messages, _, positions)
		local is_shown = reply and messages[1] and still_apply(rights, rights_in(room_jid, data.account));
		answered(is_shown and entry_of(room_jid, messages[1], positions[1]) or nil);
	end);
end

-- Gives the collection of an inbox an entry, or nil, for each chosen room, and returns their number.
local function on_request(forwarder, turns, data)
	local chosen = choose(data.rooms, data.limit);
	for _, room_jid in ipairs(chosen) do
		local function answered(entry)
			data.collection:take(entry);
			turns:finish(data.account);
		end
		turns:add(data.account, 0, function ()
			-- Not at once: between two rooms, Prosody does other work.
			module:add_timer(0, function ()
				if data.collection.closed then return answered(nil); end
				ask(forwarder, data, room_jid, answered);
			end);
		end);
	end
	return #chosen;
end

local function start(forwarder)
	-- Inboxes of many accounts, with 50 rooms each, leave room for other requests at the query components.
	local turns = new_turns();
	module:hook("stanzalake-room-entries", function (data) return on_request(forwarder, turns, data); end);
end

return { start = start };
