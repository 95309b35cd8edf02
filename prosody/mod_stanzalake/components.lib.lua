-- Components: interchangeable external components, and the iqs that they have not answered yet.

local new_id = require "util.id".long;
local st = require "util.stanza";

-- Pushes the last tag through expat, which from 2.6 on holds back a tag that the network has cut in two.
local PADDING = (" "):rep(512);

-- Bytes of a component's stream that are read at once. By default Prosody reads 4 KiB of what LuaSocket has buffered, 8
-- KiB, and then pauses for a millisecond: three quarters of the time that a large page took.
local READ_SIZE = 64 * 1024;

local components_mt = {};
components_mt.__index = components_mt;

local function component_of(jid)
	local host = prosody.hosts[jid];
	return host and host.modules.component;
end

local function is_connected(jid)
	local component = component_of(jid);
	return component and component.connected;
end

function components_mt:connected(jid)
	component_of(jid).session.conn:set_mode(READ_SIZE);
	self.on_connect(jid);
end

-- Returns the next connected component, round-robin, or nil.
function components_mt:pick()
	for _ = 1, #self.jids do
		self.turn = self.turn % #self.jids + 1;
		local jid = self.jids[self.turn];
		if is_connected(jid) then return jid; end
	end
end

function components_mt:end_request(id, ...)
	local request = self.requests[id];
	self.requests[id] = nil;
	request.timer:stop();
	request.answered(...);
end

-- Sends an iq-set.
--   payload: its content, as pieces of XML
--   timeout: seconds
--   answered: called once, with the reply, or with nil and "timeout" or "gone"
--   on_part: called with each message of the component that has the iq's id; a returned reason ends the request
function components_mt:request(jid, payload, timeout, answered, on_part)
	local id = new_id();
	local timer = module:add_timer(timeout, function ()
		if self.requests[id] then self:end_request(id, nil, "timeout"); end
	end);
	self.requests[id] = { jid = jid, timer = timer, answered = answered, on_part = on_part };
	local iq = st.iq { type = "set", id = id, from = module.host, to = jid };
	-- As text, past the router: Prosody would check and escape every character of a batch.
	local send = component_of(jid).session.send;
	send(iq:top_tag());
	for _, part in ipairs(payload) do send(part); end
	send("</iq>"..PADDING);
end

function components_mt:on_iq(stanza)
	local request = self.requests[stanza.attr.id];
	local is_reply = stanza.attr.type == "result" or stanza.attr.type == "error";
	if request and is_reply and request.jid == stanza.attr.from then
		self:end_request(stanza.attr.id, stanza);
		return true;
	end
end

-- Passes a message on to the request whose id it has.
function components_mt:on_message(stanza)
	local id = stanza.attr.id;
	local request = id and self.requests[id];
	if not request or not request.on_part or request.jid ~= stanza.attr.from then return; end
	local reason = request.on_part(stanza);
	if reason then self:end_request(id, nil, reason); end
end

-- Refuses a stanza from a user or another server to a component.
local function on_stranger(event)
	local origin, stanza = event.origin, event.stanza;
	-- Hosts pass: a stock module may act for another host, and a component pings itself.
	if prosody.hosts[stanza.attr.from] then return; end
	local kind = stanza.attr.type;
	if stanza.name ~= "presence" and kind ~= "error" and kind ~= "result" then
		origin.send(st.error_reply(stanza, "cancel", "service-unavailable"));
	end
	return true;
end

function components_mt:on_gone(jid)
	local ids = {};
	for id, request in pairs(self.requests) do
		if request.jid == jid then ids[#ids + 1] = id; end
	end
	for _, id in ipairs(ids) do self:end_request(id, nil, "gone"); end
end

-- Ends all requests before the module is unloaded.
function components_mt:close()
	for _, jid in ipairs(self.jids) do self:on_gone(jid); end
end

function components_mt:watch(jid)
	local component_host = module:context(jid);
	component_host:hook("component-authenticated", function () self:connected(jid); end);
	component_host:hook("component-disconnected", function (event)
		-- Also fired for connections that never passed the handshake.
		local component = component_of(jid);
		if component and component.session == event.session then self:on_gone(jid); end
	end);
	for _, name in ipairs { "message", "presence", "iq" } do
		for _, to in ipairs { "bare", "full", "host" } do
			component_host:hook(name.."/"..to, on_stranger, 1000);
		end
	end
	if is_connected(jid) then self:connected(jid); end
end

-- Watches the components, including those whose host is activated later.
--   on_connect: called with the domain of each connected component, now and whenever one connects; optional
function components_mt:start(on_connect)
	self.on_connect = on_connect or function () end;
	module:hook("iq/host", function (event) return self:on_iq(event.stanza); end, 1);
	for _, jid in ipairs(self.jids) do
		if prosody.hosts[jid] then self:watch(jid); end
	end
	module:hook_global("host-activated", function (host)
		if self.names[host] then self:watch(host); end
	end);
end

--   jids: their domains in Prosody's configuration
local function new(jids)
	local names = {};
	for _, jid in ipairs(jids) do names[jid] = true; end
	return setmetatable({ jids = jids, names = names, turn = 0, requests = {} }, components_mt);
end

return { new = new };
