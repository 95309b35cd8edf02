-- Displayed: up to where an account has read each of its chats, as its clients keep it in PEP (XEP-0490).

local jid = require "util.jid";

local xmlns_displayed = "urn:xmpp:mds:displayed:0";
local xmlns_sid = "urn:xmpp:sid:0";

-- Bytes of one account's chats and ids: a request stays within what the query components take.
local MAX_BYTES = 64 * 1024;

-- Returns the archive id in an item, if the account's own server assigned it.
local function id_of(item, owner)
	local displayed = item:get_child("displayed", xmlns_displayed);
	local stanza_id = displayed and displayed:get_child("stanza-id", xmlns_sid);
	return stanza_id and stanza_id.attr.by == owner and stanza_id.attr.id or nil;
end

-- Returns the ids by chat, or nil if there are none.
local function read(owner)
	local pep = prosody.hosts[module.host].modules.pep;
	if not pep then return nil; end
	local ok, items = pep.get_pep_service(jid.node(owner)):get_items(xmlns_displayed, true);
	if not ok then return nil; end
	local found, bytes = {}, 0;
	for _, chat in ipairs(items) do
		local id = id_of(items[chat], owner);
		if id then
			bytes = bytes + #chat + #id + 8;
			if bytes > MAX_BYTES then break; end
			found[chat] = id;
		end
	end
	return next(found) and found or nil;
end

return { read = read };
