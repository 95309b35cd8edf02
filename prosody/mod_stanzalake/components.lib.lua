-- Components: several external components that do the same work, and the iqs that they have not answered yet.

local new_id = require "util.id".long;
local st = require "util.stanza";

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

-- Gives a connected component, another one each time, or nil.
function components_mt:pick()
	for _ = 1, #self.jids do
		self.turn = self.turn % #self.jids + 1;
		local jid = self.jids[self.turn];
		if is_connected(jid) then return jid; end
	end
end

-- Whether a stanza came from one of them, over its own connection.
function components_mt:serves(origin, stanza)
	local jid = stanza.attr.from;
	local component = self.names[jid] and component_of(jid);
	return component and component.session == origin;
end

function components_mt:end_request(id, ...)
	local request = self.requests[id];
	self.requests[id] = nil;
	request.timer:stop();
	request.answered(...);
end

-- Sends an iq-set.
--   payload: what it holds, as XML in parts
--   timeout: seconds
--   answered: called once, with the reply, or with nil and "timeout" or "gone"
function components_mt:request(jid, payload, timeout, answered)
	local id = new_id();
	local timer = module:add_timer(timeout, function ()
		if self.requests[id] then self:end_request(id, nil, "timeout"); end
	end);
	self.requests[id] = { jid = jid, timer = timer, answered = answered };
	local iq = st.iq { type = "set", id = id, from = module.host, to = jid };
	-- As text, past the router: Prosody would check and escape every character of a batch.
	local send = component_of(jid).session.send;
	send(iq:top_tag());
	for _, part in ipairs(payload) do send(part); end
	send("</iq>");
end

function components_mt:on_iq(stanza)
	local request = self.requests[stanza.attr.id];
	local is_reply = stanza.attr.type == "result" or stanza.attr.type == "error";
	if request and is_reply and request.jid == stanza.attr.from then
		self:end_request(stanza.attr.id, stanza);
		return true;
	end
end

function components_mt:on_gone(jid)
	local ids = {};
	for id, request in pairs(self.requests) do
		if request.jid == jid then ids[#ids + 1] = id; end
	end
	for _, id in ipairs(ids) do self:end_request(id, nil, "gone"); end
end

-- Ends all requests, for when the module is unloaded.
function components_mt:close()
	for _, jid in ipairs(self.jids) do self:on_gone(jid); end
end

function components_mt:watch(jid)
	local component_host = module:context(jid);
	component_host:hook("component-authenticated", function () self.on_connect(jid); end);
	component_host:hook("component-disconnected", function (event)
		-- Also fired for a connection that never passed the handshake.
		local component = component_of(jid);
		if component and component.session == event.session then self:on_gone(jid); end
	end);
	if is_connected(jid) then self.on_connect(jid); end
end

-- Watches the components, also those whose host is activated later.
--   on_connect: called with the name whenever one has connected, and now for each that is connected
function components_mt:start(on_connect)
	self.on_connect = on_connect;
	module:hook("iq/host", function (event) return self:on_iq(event.stanza); end, 1);
	for _, jid in ipairs(self.jids) do
		if prosody.hosts[jid] then self:watch(jid); end
	end
	module:hook_global("host-activated", function (host)
		if self.names[host] then self:watch(host); end
	end);
end

--   jids: their names in Prosody's configuration
local function new(jids)
	local names = {};
	for _, jid in ipairs(jids) do names[jid] = true; end
	return setmetatable({ jids = jids, names = names, turn = 0, requests = {} }, components_mt);
end

return { new = new };
