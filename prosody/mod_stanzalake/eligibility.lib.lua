-- Eligibility: whether a message is worth archiving by its kind and content. The rule is mod_mam's, with
-- retractions besides (XEP-0424 §5).

local jid_resource = require "util.jid".resource;

local xmlns_hints = "urn:xmpp:hints";

local by_child = {
	{ "store", xmlns_hints, "hint" };
	{ "body", nil, "body" };
	{ "subject", nil, "subject" };
	{ "encryption", "urn:xmpp:eme:0", "encrypted" };
	{ nil, "urn:xmpp:receipts", "receipt" };
	{ nil, "urn:xmpp:chat-markers:0", "marker" };
	{ "x", "jabber:x:conference", "invite" };
	{ nil, "urn:xmpp:jingle-message:0", "jingle call" };
	{ nil, "urn:xmpp:jingle-message:1", "jingle call" };
	{ "retract", "urn:xmpp:message-retract:1", "retraction" };
};

local function by_content(stanza)
	for _, rule in ipairs(by_child) do
		if stanza:get_child(rule[1], rule[2]) then return true, rule[3]; end
	end
	if stanza:find("{http://jabber.org/protocol/muc#user}x/invite") then return true, "invite"; end
	return false, "default";
end

-- Gives whether the author forbids to store a message (XEP-0334 §4.2, §4.1).
local function is_unstorable(stanza)
	return (stanza:get_child("no-store", xmlns_hints) or stanza:get_child("no-permanent-store", xmlns_hints)) ~= nil;
end

-- Gives whether the message is eligible, and the reason.
local function eligible(stanza)
	local kind = stanza.attr.type;
	if kind == "headline" or kind == "groupchat" then return false, kind; end
	-- A bounce comes to the resource that sent the message; other errors answer what the account sent by itself.
	if kind == "error" then return jid_resource(stanza.attr.to) ~= nil, "bounce"; end
	if is_unstorable(stanza) then return false, "hint"; end
	return by_content(stanza);
end

return { eligible = eligible, is_unstorable = is_unstorable };
