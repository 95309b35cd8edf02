-- Access to the archives of rooms: who may read one is decided here, before a request leaves Prosody, as only Prosody
-- knows affiliations and occupants (docs/security.md).

local jid_bare = require "util.jid".bare;
local st = require "util.stanza";

local get_room = module:depends "muc".get_room_from_jid;

local xmlns_mam = "urn:xmpp:mam:2";

-- Where askers come from; anything else is none of ours.
local ORIGINS = { c2s = true, s2sin = true, s2sout = true, component = true };

-- Returns the roles of an account's occupants in a room, as keys; nil if the account is not there.
local function roles_in(room, account)
	local roles;
	for _, occupant in room:each_occupant() do
		if occupant.bare_jid == account then
			roles = roles or {};
			roles[occupant.role or "none"] = true;
		end
	end
	return roles;
end

-- Whether those without an affiliation have to be in the room to read.
local function is_closed(room)
	local password = room:get_password();
	return room._data.destroyed or password ~= nil and password ~= "";
end

-- Returns the rights of an account in a room, or nil and the type and condition of an error.
local function rights_of(room, account)
	if not room then return nil, "cancel", "item-not-found"; end
	local affiliation = room:get_affiliation(account);
	if affiliation == "outcast" then return nil, "auth", "forbidden"; end
	if not affiliation and room:get_members_only() then return nil, "auth", "forbidden"; end
	local roles = roles_in(room, account);
	if not affiliation and not roles and is_closed(room) then return nil, "auth", "forbidden"; end
	return {
		affiliation = affiliation or "none", whois = room:get_whois();
		moderator = roles and roles.moderator or room:get_default_role(affiliation) == "moderator" and affiliation ~= nil;
	};
end

local function on_iq(forwarder, record, data)
	local origin, stanza = data.origin, data.stanza;
	if not ORIGINS[origin.type] then return; end
	local room = get_room(stanza.attr.to);
	local rights, kind, condition = rights_of(room, jid_bare(stanza.attr.from));
	if rights then return forwarder:forward(origin, stanza, room.jid, rights); end
	if condition == "forbidden" then record(stanza); end
	origin.send(st.error_reply(stanza, kind, condition));
	return true;
end

--   record: called with each request that is refused for want of rights
local function start(forwarder, record)
	for _, name in ipairs { "iq-get/bare/"..xmlns_mam..":query", "iq-set/bare/"..xmlns_mam..":query",
		"iq-get/bare/"..xmlns_mam..":metadata" } do
		module:hook(name, function (data) return on_iq(forwarder, record, data); end);
	end
end

return { rights_of = rights_of, start = start };
