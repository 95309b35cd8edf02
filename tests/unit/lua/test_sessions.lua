-- Random sessions, requests and answers: each session gets the answers to its own requests, whole and in their order.
-- Argument: the module's directory.

local MODULE = ...;

local base64 = require "util.encodings".base64;
local st = require "util.stanza";

local MAM = "urn:xmpp:mam:2";
local RUNS, STEPS = 40, 150;
local JIDS = { "a@h/one", "a@h/two", "b@h/one" };

local function pick(list) return list[math.random(#list)]; end

-- Loads the forwarding of a host. Its timers are called by run_timers; time passes with each look at the clock.
local function new_host()
	local parts, due, time = {}, {}, 0;
	local host = { sessions = {}, waiting = {} };
	local modules = { ["util.time"] = { now = function () time = time + 0.004; return time; end } };
	local module = { host = "h", log = function () end, measure = function () return function () end; end };
	function module.hook() end
	function module.require(_, name) return parts[name]; end
	function module.get_option_number(_, _, default) return default; end
	function module.add_timer(_, seconds, callback)
		if seconds == 0 then due[#due + 1] = callback; end
		return { stop = function () end };
	end
	local env = setmetatable({
		module = module, prosody = { full_sessions = host.sessions, hosts = { h = { modules = { stanzalake = module } } } };
		require = function (name) return modules[name] or require(name); end;
	}, { __index = _G });
	for _, name in ipairs {
		"frames", "event", "stanzas", "turns", "answers", "delivery", "pep_items", "displayed", "deferred", "pages";
		"unread", "forwarding";
	} do
		parts[name] = assert(loadfile(MODULE.."/"..name..".lib.lua", "t", env))();
	end
	function host.run_timers()
		local now = due;
		due = {};
		for _, callback in ipairs(now) do
			if callback() == 0 then due[#due + 1] = callback; end
		end
		return due[1] ~= nil;
	end
	local position = 0;
	local sequence = { next = function () position = position + 1; return position; end };
	local sender = { newest_position = function () return 0; end };
	function sender.hold(_, _, _, resume) host.waiting[#host.waiting + 1] = function () resume(true); end; end
	local query = { pick = function () return "q"; end };
	function query.request(_, _, payload, _, answered)
		host.waiting[#host.waiting + 1] = function () answered(host.answer_to(base64.decode(payload[2]))); end;
	end
	local preferences = { pending = function () return false; end };
	local timeouts = { freshness_timeout = 1, query_timeout = 1 };
	host.forwarding = parts.forwarding.new(sender, sequence, query, timeouts, preferences);
	host.frames = parts.frames;
	return host;
end

-- Returns a component's iq with a page of as many results as the request asks for, each marked with its number.
local function answer_to(host, text)
	local asker, id = text:match('"asker":"([^"]*)"'), text:match("<iq [^>]*id='([^']*)'");
	local number, count = text:match("queryid='(%d+)%-(%d+)'");
	local owner, written = asker:match("^[^/]*"), {};
	for result = 1, tonumber(count) do
		written[result] = host.frames.write("message", result, ("<message from='%s' to='%s'>"
			.."<result xmlns='%s' mark='%s.%d'/></message>"):format(owner, asker, MAM, number, result));
	end
	written[#written + 1] = host.frames.write("iq", 0, ("<iq type='result' id='%s' from='%s' to='%s'>"
		.."<fin xmlns='%s' mark='%s.end'/></iq>"):format(id, owner, asker, MAM, number));
	return st.iq({ type = "result", id = "answer" })
		:tag("answer", { xmlns = "urn:stanzalake:query:1", part = "1", of = "1" })
		:text(base64.encode(table.concat(written)));
end

-- As mod_smacks does.
local function keep_copies(session)
	local function keep(stanza)
		table.insert(session.copies, st.clone(stanza));
		return stanza;
	end
	session.smacks, session.copies = "urn:xmpp:sm:3", {};
	session.filters["stanzas/out"] = { keep, [keep] = -999 };
	function session.filter(_, stanza) return keep(stanza); end
	function session.send(stanza) session.rawsend(keep(stanza)); end
end

local function new_session(jid)
	local session = { type = "c2s", host = "h", full_jid = jid, filters = {}, received = {}, expected = {} };
	local kind = math.random(3);
	-- A filter of any module; then each message of a page is sent by itself.
	if kind == 1 then session.filters["stanzas/out"] = { function () end }; end
	function session.rawsend(text)
		assert(not session.gone, "something was sent to a session that is gone");
		for mark in tostring(text):gmatch("mark='([^']*)'") do table.insert(session.received, mark); end
	end
	session.send = session.rawsend;
	function session.filter(_, stanza) return stanza; end
	if kind == 2 then keep_copies(session); end
	return session;
end

local steps, number = {}, 0;

function steps.bind(host)
	local jid = pick(JIDS);
	if not host.sessions[jid] then host.sessions[jid] = new_session(jid); end
end

function steps.leave(host)
	local jid = pick(JIDS);
	local session = host.sessions[jid];
	if session and math.random() < 0.3 then session.gone, host.sessions[jid] = true, nil; end
end

-- Clients begin to count the ids of their iqs anew when they come back.
function steps.ask(host)
	local session = host.sessions[pick(JIDS)];
	if not session then return; end
	local count, owner = math.random(0, 5), session.full_jid:match("^[^/]*");
	number = number + 1;
	session.expected[number] = count;
	host.forwarding:forward(session, st.iq({ type = "set", id = tostring(math.random(2)), from = session.full_jid })
		:tag("query", { xmlns = MAM, queryid = number.."-"..count }), owner);
end

function steps.answer(host)
	if host.waiting[1] then table.remove(host.waiting, math.random(#host.waiting))(); end
end

function steps.deliver(host) host.run_timers(); end

-- Checks that a session that is still there got the whole page of each of its requests, and nothing else.
local function check(session)
	local next_result, ended = {}, 0;
	for _, mark in ipairs(session.received) do
		local of, result = mark:match("^(%d+)%.(.*)$");
		of = tonumber(of);
		local count = assert(session.expected[of], "a result of another session's request");
		next_result[of] = (next_result[of] or 0) + 1;
		assert(result == (next_result[of] > count and "end" or tostring(next_result[of])), "results out of order");
		if result == "end" then ended = ended + 1; end
	end
	for i, copy in ipairs(session.copies or {}) do
		assert(tostring(copy):match("mark='([^']*)'") == session.received[i], "a copy of another stanza");
	end
	if session.gone then return; end
	local asked = 0;
	for _ in pairs(session.expected) do asked = asked + 1; end
	assert(ended == asked, ("%d of %d requests were answered"):format(ended, asked));
end

for run = 1, RUNS do
	math.randomseed(run);
	local host = new_host();
	function host.answer_to(text) return answer_to(host, text); end
	local all, names = {}, { "bind", "leave", "ask", "ask", "answer", "answer", "deliver" };
	for _ = 1, STEPS do
		steps[pick(names)](host);
		for _, session in pairs(host.sessions) do all[session] = true; end
	end
	repeat
		while host.waiting[1] do steps.answer(host); end
	until not host.run_timers() and not host.waiting[1];
	for session in pairs(all) do
		local ok, err = pcall(check, session);
		assert(ok, ("run %d: %s"):format(run, err));
	end
end
