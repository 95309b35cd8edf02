-- Judges messages as the tap does. Argument: the module's directory. Each line of the input is a case as JSON:
--   policy, smart, exclude_namespaces: the module's options; contact; state: of the owner's archive, if it is known
--   owner, peer, peer_resource; position; stanza: the message as a client sends it
-- Each line of the output is the verdict and, for an eligible message, the event that the journal would get.

local MODULE = ...;

local json = require "util.json";
local new_stream = require "util.xmppstream".new;

local function part(name)
	return loadfile(MODULE.."/"..name..".lib.lua", "t", setmetatable({}, { __index = _G }))();
end

local eligible = part "eligibility".eligible;
local event = part "event";
local options = part "options";
local verdict_of = part "verdict".verdict;

-- Gives the stanza as Prosody's own stream of a client does.
local function parse(text)
	local found;
	local stream = new_stream({ notopen = true }, {
		default_ns = "jabber:client";
		streamopened = function (session) session.notopen = nil; end;
		handlestanza = function (_, stanza) found = stanza; end;
	});
	assert(stream:feed("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"));
	assert(stream:feed(text));
	return assert(found);
end

local function set_of(list)
	local set = {};
	for _, item in ipairs(list) do set[item] = true; end
	return set;
end

local function state_of(given)
	if not (given and given.default) then return given; end
	return { activated = true, default = given.default, always = set_of(given.always), never = set_of(given.never) };
end

local function server_of(case)
	local values = options.read(function (name)
		local given = case[name:match("^stanzalake_(.*)$")];
		return name == "stanzalake_id_keys" and ("k"):rep(32) or given;
	end, "/journal");
	return { policy = values.policy, smart = values.smart, excluded = values.exclude_namespaces };
end

local function judge(case)
	local stanza = parse(case.stanza);
	if not eligible(stanza) then return "no"; end
	local full = case.peer..(case.peer_resource == "" and "" or "/"..case.peer_resource);
	local verdict = verdict_of(stanza, case.peer, full, case.contact, state_of(case.state), server_of(case));
	stanza.attr.xmlns = "jabber:client";
	return verdict, event.encode {
		position = case.position, owner = case.owner, peer = case.peer, peer_resource = case.peer_resource;
		direction = "in", kind = stanza.attr.type == "error" and "error" or "normal", contact = case.contact;
		stanza = event.text_of(stanza);
	};
end

for line in io.lines() do
	local verdict, text = judge(json.decode(line));
	io.write(verdict, " ", text or "\n");
	io.flush();
end
