-- Forwarding: carries a user's MAM iqs to the query components (XEP-0355) and their results back (XEP-0356).

local jid = require "util.jid";
local st = require "util.stanza";

local xmlns_client = "jabber:client";
local xmlns_delegation = "urn:xmpp:delegation:2";
local xmlns_forward = "urn:xmpp:forward:0";
local xmlns_mam = "urn:xmpp:mam:2";
local xmlns_privilege = "urn:xmpp:privilege:2";
local xmlns_stamp = "urn:stanzalake:stamp:1";

-- Clients ask for each of their chats at once; more than this is no client.
local MAX_REQUESTS = 256;

local forwarding_mt = {};
forwarding_mt.__index = forwarding_mt;

-- Within Prosody a stanza of its own has no xmlns; mod_smacks would not count it.
local function without_client_xmlns(element)
	if element.attr.xmlns ~= xmlns_client then return; end
	element.attr.xmlns = nil;
	for child in element:childtags() do without_client_xmlns(child); end
end

local function only_child(element, name, xmlns)
	local child = element and #element.tags == 1 and element.tags[1];
	return child and child.name == name and child.attr.xmlns == xmlns and child or nil;
end

local function unwrap(element, xmlns, wrapper, name)
	local outer = only_child(element, wrapper, xmlns);
	return only_child(only_child(outer, "forwarded", xmlns_forward), name, xmlns_client);
end

local function envelope(stanza, position, stable, ends)
	local copy = st.clone(stanza);
	copy.attr.xmlns = xmlns_client;
	return st.stanza("delegation", { xmlns = xmlns_delegation })
		:tag("forwarded", { xmlns = xmlns_forward }):add_child(copy):up()
		:tag("stamp", {
			xmlns = xmlns_stamp, position = ("%d"):format(position), stable = not stable and "false" or nil, ends = ends;
		}):up();
end

-- Whether the inner reply answers this request (XEP-0355 §4.3).
local function answers(iq, stanza)
	local from, kind = iq.attr.from, iq.attr.type;
	return iq.attr.id == stanza.attr.id and iq.attr.to == stanza.attr.from
		and (from == nil or from == jid.bare(stanza.attr.from))
		and (kind == "error" or kind == "result" and #iq.tags <= 1);
end

local function refusal(stanza)
	return st.error_reply(stanza, "cancel", "service-unavailable");
end

-- What the user gets for what the component gave, or did not give.
local function answer_to(stanza, reply, why)
	if why == "timeout" then return st.error_reply(stanza, "wait", "remote-server-timeout"); end
	local iq = reply and reply.attr.type == "result" and unwrap(reply, xmlns_delegation, "delegation", "iq");
	if not iq or not answers(iq, stanza) then
		module:log("warn", "A query was not answered properly: %s", why or "wrong reply from "..reply.attr.from);
		return refusal(stanza);
	end
	without_client_xmlns(iq);
	return iq;
end

-- The requests of one session (by its full JID) that are not answered yet.
function forwarding_mt:begin(request)
	local full_jid = request.stanza.attr.from;
	local requests = self.sessions[full_jid] or { count = 0 };
	if requests.count >= MAX_REQUESTS then return false; end
	self.sessions[full_jid] = requests;
	requests[request], requests.count = true, requests.count + 1;
	return true;
end

function forwarding_mt:finish(request, answer)
	local full_jid = request.stanza.attr.from;
	local requests = self.sessions[full_jid];
	requests[request], requests.count = nil, requests.count - 1;
	if requests.count == 0 then self.sessions[full_jid] = nil; end
	request.origin.send(answer);
end

function forwarding_mt:relay(request, stable, ends)
	local stanza = request.stanza;
	request.component = self.query:pick();
	if not request.component then return self:finish(request, refusal(stanza)); end
	local payload = envelope(stanza, request.position, stable, ends);
	self.query:request(request.component, { tostring(payload) }, self.query_timeout, function (reply, why)
		self:finish(request, answer_to(stanza, reply, why));
	end);
end

function forwarding_mt:on_iq(event)
	local origin, stanza = event.origin, event.stanza;
	if origin.type ~= "c2s" then return; end
	if stanza.attr.type == "set" and stanza.tags[1].name == "query" then origin.mam_requested = true; end
	local request = { origin = origin, stanza = stanza, position = self.sequence:next() };
	if not self:begin(request) then
		origin.send(st.error_reply(stanza, "wait", "resource-constraint"));
		return true;
	end
	local owner = jid.bare(stanza.attr.from);
	self.sender:hold(owner, self.freshness_timeout, function (...) self:relay(request, ...); end);
	return true;
end

-- Gives the session that a result is for: one that has asked this component.
function forwarding_mt:asker(message, component)
	local full_jid = message.attr.to;
	if message.attr.from ~= jid.bare(full_jid) then return nil; end
	for request in pairs(self.sessions[full_jid] or {}) do
		if request ~= "count" and request.component == component then return request.origin; end
	end
end

local function forbid(event)
	if event.stanza.attr.type ~= "error" then
		event.origin.send(st.error_reply(event.stanza, "auth", "forbidden"));
	end
	return true;
end

-- Results go straight to the session: not through other modules as if the user had sent them, not to carbons.
function forwarding_mt:on_result(event)
	local stanza, component = event.stanza, event.stanza.attr.from;
	local message = unwrap(stanza, xmlns_privilege, "privilege", "message");
	local session = message and message:get_child("result", xmlns_mam) and self:asker(message, component);
	if not session then return forbid(event); end
	without_client_xmlns(message);
	session.send(message);
	return true;
end

function forwarding_mt:on_privilege(event)
	if event.stanza:get_child("privilege", xmlns_privilege) and self.query:serves(event.origin, event.stanza) then
		return self:on_result(event);
	end
end

-- Those of other components are left to mod_privilege, if it is loaded.
local function on_stray_privilege(event)
	if event.stanza:get_child("privilege", xmlns_privilege) then return forbid(event); end
end

local function announce(component)
	local to = { from = module.host, to = component };
	module:send(st.message(to):tag("delegation", { xmlns = xmlns_delegation })
		:tag("delegated", { namespace = xmlns_mam }));
	module:send(st.message(to):tag("privilege", { xmlns = xmlns_privilege })
		:tag("perm", { access = "message", type = "outgoing" }));
end

-- Clients that use the archive get their offline messages from it.
local function on_offline_broadcast(event)
	return event.origin.mam_requested;
end

function forwarding_mt:start()
	for _, name in ipairs { "query", "prefs", "metadata" } do
		module:hook("iq/self/"..xmlns_mam..":"..name, function (event) return self:on_iq(event); end);
	end
	module:hook("message/host", function (event) return self:on_privilege(event); end, 1);
	module:hook("message/host", on_stray_privilege, -1);
	module:hook("message/offline/broadcast", on_offline_broadcast);
	self.query:start(announce);
end

--   query: the query components
--   options: freshness_timeout, query_timeout (seconds)
local function new(sender, sequence, query, options)
	return setmetatable({
		sender = sender, sequence = sequence, query = query, sessions = {};
		freshness_timeout = options.freshness_timeout, query_timeout = options.query_timeout;
	}, forwarding_mt);
end

return { new = new };
