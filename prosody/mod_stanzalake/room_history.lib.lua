-- Room history: what a room tells new occupants (XEP-0045 §7.2.14), filled from the archive after a restart of Prosody,
-- which keeps it in memory alone. Whoever joins meanwhile waits, so that no live message overtakes the history.

local datetime = require "util.datetime";
local it = require "util.iterators";
local jid_bare = require "util.jid".bare;
local st = require "util.stanza";

local ids = module:require "stanza_ids";
local is_archived = module:require "room_archiving".is_archived;
local get_room = module:depends "muc".get_room_from_jid;

local xmlns_delay = "urn:xmpp:delay";
local xmlns_forward = "urn:xmpp:forward:0";
local xmlns_mam = "urn:xmpp:mam:2";
local xmlns_retract = "urn:xmpp:message-retract:1";

-- Seconds between attempts, and their number.
local RETRY = 1;
local MAX_ATTEMPTS = 60;
-- Presences that wait for a room.
local MAX_WAITING = 1000;

-- A list, as the table changes meanwhile.
local function keys_of(map) return it.to_array(it.keys(map)); end

local history_mt = {};
history_mt.__index = history_mt;

-- A live room forgets what is retracted; the archive has a tombstone of it (XEP-0424 §4), which has no body.
local function is_tombstone(stanza)
	return stanza:get_child("retracted", xmlns_retract) and not stanza:get_child("body");
end

-- Returns the entry of a result, as the history library keeps it; nil for none.
function history_mt:entry_of(room, message)
	local result = message:get_child("result", xmlns_mam);
	local forwarded = result and result:get_child("forwarded", xmlns_forward);
	local stamp = forwarded and forwarded:get_child("delay", xmlns_delay).attr.stamp;
	local inner = forwarded and forwarded:get_child("message", "jabber:client");
	-- Parsed again, as a stanza of its own.
	local stanza = inner and self.forwarder.parser:parse(tostring(inner));
	if not stanza or is_tombstone(stanza) then return nil; end
	stanza.attr.to = "";
	stanza:add_direct_child(ids.stanza_id(room.jid, result.attr.id));
	stanza:tag("delay", { xmlns = xmlns_delay, from = room.jid, stamp = stamp }):up();
	return { stanza = stanza, timestamp = datetime.parse(stamp) };
end

-- Puts the archive's messages before those that the room has heard meanwhile.
function history_mt:merge(room, messages)
	local history, known = {}, {};
	for _, message in ipairs(messages) do
		local entry = self:entry_of(room, message);
		if entry then
			known[ids.id_of(entry.stanza, room.jid)] = true;
			table.insert(history, entry);
		end
	end
	for _, entry in ipairs(room._history or {}) do
		local id = ids.id_of(entry.stanza, room.jid);
		if not (id and known[id]) then table.insert(history, entry); end
	end
	local surplus = math.max(0, #history - room:get_historylength());
	room._history = table.move(history, surplus + 1, #history + surplus, 1);
end

-- Lets those in who wait for a room.
function history_mt:admit(room)
	local waiting = self.waiting[room];
	self.waiting[room] = nil;
	for _, data in ipairs(waiting or {}) do module:fire_event("presence/full", data); end
end

function history_mt:finish(room)
	local fill = self.filling[room];
	self.filling[room] = nil;
	if fill and fill.timer then fill.timer:stop(); end
	self:admit(room);
end

function history_mt:attempt(room)
	local fill = self.filling[room];
	if not fill or fill.asked then return; end
	fill.asked, fill.attempts = true, fill.attempts + 1;
	self.forwarder:ask_newest(room.jid, room:get_historylength(), function (messages)
		fill.asked = false;
		if self.filling[room] ~= fill then return; end
		if messages then self:merge(room, messages); end
		if messages or fill.attempts == MAX_ATTEMPTS then return self:finish(room); end
		fill.timer = module:add_timer(RETRY, function () self:attempt(room); end);
	end);
end

-- Fills the history of a room that was read from Prosody's storage.
function history_mt:fill(room)
	if not is_archived(room) or room:get_historylength() == 0 or room._data.destroyed then return; end
	self.filling[room], self.waiting[room] = { attempts = 0 }, {};
	module:add_timer(self.timeout, function () self:admit(room); end);
	self:attempt(room);
end

-- Asks again for all that is missing: a query component has connected.
function history_mt:resume()
	for _, room in ipairs(keys_of(self.filling)) do self:attempt(room); end
end

-- Lets a presence to a room wait. Returns true if it does.
function history_mt:on_presence(data)
	local room = get_room(jid_bare(data.stanza.attr.to));
	local waiting = room and self.waiting[room];
	if not waiting then return nil; end
	data.stanza = st.clone(data.stanza);
	table.insert(waiting, data);
	if #waiting == MAX_WAITING then self:admit(room); end
	return true;
end

function history_mt:start()
	module:hook("muc-room-restored", function (data) self:fill(data.room); end);
	module:hook("muc-room-destroyed", function (data) self:finish(data.room); end);
	module:hook("presence/full", function (data) return self:on_presence(data); end, 100);
end

-- Lets everybody in before the module is unloaded.
function history_mt:close()
	for _, room in ipairs(keys_of(self.filling)) do self:finish(room); end
end

--   forwarder: asks for the newest messages of a room
--   timeout: seconds for which somebody who joins waits at most
local function new(forwarder, timeout)
	return setmetatable({ forwarder = forwarder, timeout = timeout, filling = {}, waiting = {} }, history_mt);
end

return { new = new };
