-- Room archiving: whether a room is archived, by the options of mod_muc_mam and the room's own configuration, and where
-- occupants and clients see it (XEP-0045 §7.2.12, §10.2.1).

local FIELD = "muc#roomconfig_enablearchiving";

-- What an archived room offers (XEP-0313 §7, XEP-0059 §4, XEP-0431 §2.1).
local FEATURES = {
	"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "http://jabber.org/protocol/rsm", "urn:xmpp:fulltext:0",
	"urn:xmpp:message-retract:1", "urn:xmpp:message-retract:1#tombstone", "urn:xmpp:message-moderate:1",
};
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_sid = "urn:xmpp:sid:0";

local log_all = module:get_option_boolean("muc_log_all_rooms", false);
local log_by_default = module:get_option_boolean("muc_log_by_default", true);

local function is_archived(room)
	if log_all then return true; end
	local chosen = room._data.archiving;
	if chosen == nil then return log_by_default; end
	return chosen;
end

local function on_form(data)
	table.insert(data.form, {
		name = FIELD, type = "boolean", label = "Archive chat on server", value = is_archived(data.room);
	});
end

local function on_submitted(data)
	local room, value = data.room, data.value == true;
	if value ~= is_archived(room) then data.status_codes[value and "170" or "171"] = true; end
	room._data.archiving = value;
end

local function on_disco(data)
	local room, reply = data.room, data.reply;
	reply:tag("feature", { var = xmlns_sid }):up();
	if is_archived(room) then
		for _, feature in ipairs(FEATURES) do reply:tag("feature", { var = feature }):up(); end
	end
	if data.form then
		table.insert(data.form, { name = FIELD, type = "boolean", label = "Archive chat on server" });
		data.formdata[FIELD] = is_archived(room);
	end
end

-- Tells a new occupant in the presence that ends its join; Prosody has no hook for that one alone.
local function announce_on_join()
	local room_mt, joining = module:depends "muc".room_mt, nil;
	local route_stanza = room_mt.route_stanza;
	function room_mt:route_stanza(stanza)
		if joining and stanza.name == "presence" and stanza.attr.to == joining then
			local x = stanza:get_child("x", xmlns_muc_user);
			local is_own = x and x:get_child_with_attr("status", nil, "code", "110");
			if is_own then x:tag("status", { code = "170" }):up(); end
		end
		return route_stanza(self, stanza);
	end
	module:hook("muc-occupant-pre-join", function (data)
		joining = is_archived(data.room) and data.stanza.attr.from or nil;
	end, -1000);
	module:hook("muc-occupant-session-new", function () joining = nil; end, 1000);
end

local function start()
	if module:get_option("muc_log_expires_after") ~= nil then
		module:log("warn", "muc_log_expires_after has no effect: set STANZALAKE_EXPIRE_HOSTS of the services");
	end
	announce_on_join();
	if not log_all then
		module:hook("muc-config-form", on_form);
		module:hook("muc-config-submitted/"..FIELD, on_submitted);
	end
	module:hook("muc-disco#info", on_disco);
	module:add_feature("urn:xmpp:mam:2");
end

return { is_archived = is_archived, start = start };
