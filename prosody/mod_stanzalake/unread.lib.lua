-- Unread: whether an asker reads what it is sent. Prosody keeps in memory whatever a connection does not take.

local jid_host = require "util.jid".host;

local hosts = prosody.hosts;

-- Bytes that may wait for an asker before the next page.
local MAX_UNREAD = 1024 * 1024;

-- Returns the bytes of texts that wait: none, one, a list, or a util.dbuffer (Prosody 13).
local function bytes_of(texts)
	if type(texts) == "string" then return #texts; end
	if type(texts) ~= "table" then return 0; end
	if getmetatable(texts) then return #texts; end
	local bytes = 0;
	for _, text in ipairs(texts) do bytes = bytes + #text; end
	return bytes;
end

-- Returns the session by which a request's asker is reached, nil for another server that is not connected.
local function session_of(request)
	local origin = request.origin;
	if request.is_local or origin.type == "component" then return origin; end
	return hosts[module.host].s2sout[jid_host(request.asker)];
end

-- Whether so much waits for a request's asker that a page is too much.
local function is_behind(request)
	local session = session_of(request);
	if not session then return false; end
	-- What waits for the connection to another server, and for a client's next request over BOSH.
	if session.sendq then return true; end
	return bytes_of(session.conn and session.conn.writebuffer) + bytes_of(session.send_buffer) > MAX_UNREAD;
end

return { is_behind = is_behind };
