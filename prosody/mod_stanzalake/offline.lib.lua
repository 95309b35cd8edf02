-- Offline messages beside an archive. A client that reads the archive gets from mod_offline only what is not archived.

local datetime = require "util.datetime".datetime;
local st = require "util.stanza";

local host = module.host;

local function is_archived(stanza, user)
	return stanza:get_child_with_attr("stanza-id", "urn:xmpp:sid:0", "by", user.."@"..host) ~= nil;
end

-- A message that mod_offline did not take is not lost if it is archived: no bounce.
local function on_handle(data)
	return is_archived(data.stanza, data.username) or nil;
end

local function send_delayed(session, stanza, when)
	session.send(st.clone(stanza):tag("delay", { xmlns = "urn:xmpp:delay", from = host, stamp = datetime(when) }));
end

-- Sends a session its messages that are not archived. Returns how many, and the archived ones.
local function send_unarchived(session, messages)
	local count, archived = 0, {};
	for _, stanza, when, with in messages do
		if is_archived(stanza, session.username) then
			table.insert(archived, { stanza = stanza, when = when, with = with });
		else
			send_delayed(session, stanza, when);
			count = count + 1;
		end
	end
	return count, archived;
end

local store;

-- The archived ones stay for clients that do not read the archive. A crash meanwhile costs those clients nothing else.
local function on_broadcast(data)
	local session = data.origin;
	if not session.mam_requested then return; end
	store = store or module:open_store("offline", "archive");
	local messages = store:find(session.username);
	local count, archived = 0, {};
	if messages then count, archived = send_unarchived(session, messages); end
	if count == 0 then return true; end
	store:delete(session.username);
	for _, message in ipairs(archived) do
		store:append(session.username, nil, message.stanza, message.when, message.with);
	end
	return true;
end

local function start()
	module:hook("message/offline/handle", on_handle, -2);
	module:hook("message/offline/broadcast", on_broadcast);
end

return { start = start };
