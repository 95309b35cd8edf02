-- Tests of requests and answers on their way to and from the query components. Argument: the module's directory.

local MODULE = ...;

local base64 = require "util.encodings".base64.encode;
local st = require "util.stanza";

local function part(name, env)
	return assert(loadfile(MODULE.."/"..name, "t", setmetatable(env or {}, { __index = _G })));
end

local frames = part("frames.lib.lua")();
local answers = part("answers.lib.lua", { module = { require = function () return frames; end } })();
local deliveries = part("delivery.lib.lua")();
local stanzas = part("stanzas.lib.lua")();
local turns = part("turns.lib.lua")();

local function equal(found, expected)
	if found ~= expected then
		error(("expected %s, found %s"):format(tostring(expected), tostring(found)), 2);
	end
end

local tests = {};

local function random_bytes(most)
	local bytes = {};
	for i = 1, math.random(0, most) do bytes[i] = string.char(math.random(0, 255)); end
	return table.concat(bytes);
end

local function random_frames()
	local list, texts = {}, {};
	for i = 1, math.random(0, 5) do
		list[i] = { kind = ("kind"):sub(1, math.random(4)), position = math.random(0), content = random_bytes(40) };
		list[i].position = list[i].position & math.maxinteger;
		texts[i] = frames.write(list[i].kind, list[i].position, list[i].content);
	end
	return list, table.concat(texts);
end

-- Returns the frames of a text, or nil and the reason.
local function read(text)
	local found = {};
	local rest, err = frames.read(text, function (kind, position, first, last)
		found[#found + 1] = { kind = kind, position = position, content = text:sub(first, last) };
	end);
	return rest and found, err, rest and text:sub(rest);
end

function tests.frames_come_back_as_they_were_written()
	for _ = 1, 500 do
		local list, text = random_frames();
		local found = assert(read(text));
		equal(#found, #list);
		for i, frame in ipairs(found) do
			equal(frame.kind, list[i].kind);
			equal(frame.position, list[i].position);
			equal(frame.content, list[i].content);
		end
	end
end

function tests.damaged_frames_are_an_error_or_other_frames()
	for _ = 1, 2000 do
		local _, text = random_frames();
		local at = math.random(0, #text);
		local damaged = text:sub(1, at)..random_bytes(3)..text:sub(at + math.random(0, 3));
		local found, err = read(damaged);
		assert(type(found) == "table" or type(err) == "string");
	end
end

function tests.hostile_frames_are_an_error()
	local hostile = {
		"iq 0 "..("9"):rep(20).."\nab", "iq 0 "..("9"):rep(400).."\nab", "iq 0 9223372036854775807\nab";
		"iq 0 -1\nab", "iq 1e3 0\n";
		"iq 99999999999999999999 0\n", "IQ 0 0\n", " 0 0\n", "iq 0 0\r\n", ("i"):rep(65);
	};
	for _, text in ipairs(hostile) do
		local found, err = read(text);
		equal(found, nil);
		equal(type(err), "string");
	end
end

function tests.a_frame_that_is_cut_off_is_left_over()
	for _, cut_off in ipairs { "", "iq", "iq 0 3\nab", "iq 0 9999999999\nab", "\0" } do
		local found, needed, rest = read("iq 0 0\n"..cut_off);
		equal(#found, 1);
		equal(rest, cut_off);
		assert(cut_off == "" or needed > #cut_off);
	end
end

local function element(text, number, of)
	return st.stanza("answer", { part = tostring(number), of = tostring(of) }):text(base64(text));
end

function tests.an_answer_is_put_together_from_its_parts()
	local text = frames.write("state", 7, '{"activated":true,"always":["a@b"],"never":[]}')
		..frames.write("message", 8, "<message/>")..frames.write("iq", 0, "<iq/>");
	for size = 1, #text do
		local answer, of = answers.new { bytes = 0 }, (#text + size - 1) // size;
		for number = 1, of do
			assert(answer:add(element(text:sub((number - 1) * size + 1, number * size), number, of)));
		end
		local opened = assert(answer:open());
		equal(opened.iq, "<iq/>");
		local messages = opened.messages;
		equal(#messages, 1);
		equal(messages[1], 8);
		equal(messages.texts[1]:sub(messages.firsts[1], messages.lasts[1]), "<message/>");
		equal(opened.state.position, 7);
		equal(opened.state.always[1], "a@b");
		equal(opened.state.default, nil);
	end
end

function tests.an_answer_without_a_part_or_in_another_order_is_an_error()
	local answer = answers.new { bytes = 0 };
	equal(answer:add(element("x", 2, 3)), nil);
	assert(answer:add(element("x", 1, 3)));
	equal(answer:add(element("x", 1, 3)), nil);
	equal(answer:open(), nil);
	equal(answers.new { bytes = 0 }:open(), nil);
end

function tests.an_answer_that_is_cut_off_is_an_error()
	for _, text in ipairs { "iq", "iq 0 9\n<iq/>", "message 1 9999999999\n<message/>" } do
		local answer = answers.new { bytes = 0 };
		assert(answer:add(element(text, 1, 1)));
		local opened, err = answer:open();
		equal(opened, nil);
		assert(err:find("cut off"));
	end
end

local ENDLESS = "message 1 9999999999\n";

-- Returns the beginning of a frame that takes so many bytes.
local function beginning(bytes)
	return ENDLESS..("x"):rep(bytes - #ENDLESS);
end

function tests.an_answer_is_bounded()
	local answer, most = answers.new { bytes = 0 }, 16 * 1024 * 1024;
	local large = element(beginning(most // 4), 1, 9);
	for number = 1, 4 do
		large.attr.part = tostring(number);
		assert(answer:add(large));
	end
	large.attr.part = "5";
	local ok, err = answer:add(large);
	equal(ok, nil);
	assert(err:find("too large"));
end

function tests.answers_that_are_not_handed_out_are_bounded_together()
	local total, held = { bytes = 0 }, {};
	for number = 1, 16 do
		held[number] = answers.new(total);
		assert(held[number]:add(element(beginning(4 * 1024 * 1024), 1, 1)));
	end
	local ok, err = answers.new(total):add(element("x", 1, 1));
	equal(ok, nil);
	equal(err, "busy");
	for _, answer in ipairs(held) do answer:close(); end
	equal(total.bytes, 1);
	assert(answers.new(total):add(element("x", 1, 1)));
end

function tests.stanzas_are_parsed_one_by_one()
	local parser = stanzas.new();
	for number = 1, 3 do
		local stanza = parser:parse(("<message id='%d'><x xmlns='a b'/><body>é</body></message>"):format(number));
		equal(stanza.attr.id, tostring(number));
		equal(stanza.attr["xml:lang"], nil);
		equal(stanza.attr.xmlns, nil);
		equal(stanza:get_child_text("body"), "é");
	end
end

function tests.a_stanza_is_what_prosody_makes_of_it()
	local stanza = stanzas.new():parse("<message xml:lang='de' a='1'>a&amp;b<x xmlns='u' xml:space='preserve'><message "
		.."xmlns='jabber:client'>c</message><y xmlns=''/></x><p:z xmlns:p='v' p:q='2'/></message>");
	equal(stanza.attr["xml:lang"], "de");
	equal(stanza[1], "a&b");
	equal(#stanza.tags, 2);
	local x, z = stanza.tags[1], stanza.tags[2];
	equal(x.attr["xml:space"], "preserve");
	equal(x.tags[1].attr.xmlns, "jabber:client");
	equal(x.tags[1]:get_text(), "c");
	equal(x.tags[2].attr.xmlns, "");
	equal(z.attr["v\1q"], "2");
	equal(z.attr[1], nil);
	assert(st.is_stanza(x.tags[1]));
end

function tests.a_stanza_that_cannot_be_parsed_costs_no_other()
	local parser = stanzas.new();
	local broken = {
		"", " ", "text", "<message>", "<message/><message/>", "</message>", "<message></iq>", "</stream:stream>";
		"<message/>x</stream:stream>", "<!-- --><message/>", "<message><!-- --></message>", "<?x?><message/>";
		"<!DOCTYPE x><message/>", "<\u{370}/>", "<message><\u{370}/></message>", "<message>\0</message>", "<message a='b";
		"<message>\xff</message>", "<message>&x;</message>", "<x:message/>", "<stream:error/>";
		"<body/>", "<message/> <presence/>", "<message>"..("x"):rep(4 * 1024 * 1024).."</message>";
	};
	for _, text in ipairs(broken) do
		equal(parser:parse(text), nil);
		equal(parser:parse("<message id='1'/>").attr.id, "1");
	end
end

function tests.an_unfinished_tag_behind_a_stanza_costs_no_other()
	local parser = stanzas.new();
	local unfinished = {
		"<", "</", "</messag", "<x", "<x a='>", "<x>", "<!-", "<!--</message>", "<?x </message>";
		"<![CDATA[</message>", "&am";
	};
	for _, rest in ipairs(unfinished) do
		parser:parse("<message><body/></message>"..rest);
		equal(parser:parse("<message id='1'/>").attr.id, "1");
	end
end

function tests.content_is_checked_without_a_parse()
	local checker = stanzas.new_checker();
	local content = {
		"", " ", "text", "<x/>", "<a/>b<c xmlns='d' p:e='f' xmlns:p='g'/>", "<![CDATA[<]]>", "&amp;";
		"<result><message/></result>";
	};
	for _, text in ipairs(content) do assert(checker:takes(text), text); end
end

-- What is left open could take in the next message, or its marks.
function tests.content_that_cannot_stand_in_an_element_costs_no_other()
	local checker = stanzas.new_checker();
	local name = checker.between:match("<%?(.-)%?>");
	local broken = {
		"<x>", "</x>", "</message>", "</stream:stream>", "<x", "<x a='", "<x a=\"", "<x a='b", "<![CDATA[", "<![CDATA[x]]";
		"<!--", "<!-- -->", "<?x", "<?x ", "<?x?>", "<?xml version='1.0'?>", "<!DOCTYPE x>", "<!DOCTYPE", "&", "&x", "&x;";
		"<", "</", "\0", "\xff", "\xc3", "<p:x/>", "<x a='1' a='2'/>", "]]>", "</c><c>", ("x"):rep(4 * 1024 * 1024 + 1);
	};
	for _, text in ipairs(broken) do
		equal(checker:takes(text), false);
		assert(checker:takes("<x/>"));
	end
	assert(checker.between:match("<%?(.-)%?>") ~= name);
end

function tests.a_parser_is_made_anew_before_it_remembers_too_many_names()
	local parser = stanzas.new();
	local first, name = parser.parser, ("n"):rep(100000);
	for number = 1, 20 do assert(parser:parse("<message><"..name..number.."/></message>")); end
	assert(parser.parser ~= first);
	assert(parser.fed < 2 * 1024 * 1024);
	local checker = stanzas.new_checker();
	first = checker.parser;
	for number = 1, 20 do assert(checker:takes("<"..name..number.."/>")); end
	assert(checker.parser ~= first);
end

local pages = part("pages.lib.lua", { module = {
	require = function () return stanzas; end, log = function () end, measure = function () return function () end; end;
} })();

local function result(content)
	return "<message from='o@h' to='a@h/r'><result xmlns='urn:xmpp:mam:2' id='1'>"..content.."</result></message>";
end

-- Sends a page with these messages to a session without filters, unless some are given; returns what was written.
local function send_page(texts, filters)
	local messages, written = { texts = {}, firsts = {}, lasts = {} }, {};
	local whole, last = table.concat(texts), 0;
	for number, text in ipairs(texts) do
		messages[number], messages.texts[number] = number, whole;
		messages.firsts[number], messages.lasts[number] = last + 1, last + #text;
		last = last + #text;
	end
	local session = { filters = filters or {}, rawsend = function (text) written[#written + 1] = tostring(text); end };
	function session.filter(_, stanza) return stanza; end
	local request = { asker = "a@h/r", owner = "o@h", is_local = true, origin = session };
	local page = pages.new(stanzas.new()):open(request, messages);
	while page:left() > 0 do page:send_some(); end
	return written;
end

function tests.a_page_is_written_as_it_came_in_few_writes()
	local texts = {};
	for number = 1, 400 do texts[number] = result(("x"):rep(number)); end
	local written = send_page(texts);
	equal(table.concat(written), table.concat(texts));
	equal(#written, 3);
	assert(#written[1] < 100 * 1024);
end

function tests.a_session_with_filters_gets_each_message_by_itself()
	local texts = { result("1"), result("2") };
	for _, kind in ipairs { "stanzas/out", "bytes/out" } do
		local written = send_page(texts, { [kind] = { function () end } });
		equal(#written, 2);
		equal(table.concat(written), table.concat(texts));
	end
end

function tests.a_message_that_is_no_result_for_the_session_costs_no_other()
	local good, stranger = result("good"), result("bad"):gsub("a@h/r", "b@h/r");
	local bad = {
		"", "<message/>", "</message>", stranger, result("</result></message><message><result xmlns='urn:xmpp:mam:2'>");
		result("<x>"), result("<!-- -->"), result("<![CDATA["), result("<x a='"), result("\0"), result("bad"):sub(1, -2);
		result("bad").."<iq/>", result("bad")..result("bad"), (result("bad"):gsub("mam:2", "mam:1"));
		(result("bad"):gsub("'urn:xmpp:mam:2'", '"urn:xmpp:mam:2\'"')), "<message from='o@h' to='a@h/r'></message>";
		"<message from='o@h' to='a@h/r'><result xmlns='urn:xmpp:mam:2'</message>";
	};
	for _, text in ipairs(bad) do
		equal(table.concat(send_page { good, text, good }), good..good);
		equal(table.concat(send_page { text, good }), good);
	end
end

function tests.a_result_that_is_written_in_another_way_is_sent_too()
	local other = result("x"):gsub("from='o@h' to='a@h/r'", "xmlns:p='q' type='normal' to='a@h/r' from='o@h'");
	local entry = "<message from='o@h' to='a@h/r'><entry xmlns='urn:xmpp:inbox:1'/></message>";
	for _, text in ipairs { other, entry } do
		equal(table.concat(send_page { text, result("y"), text }), text..result("y")..text);
	end
end

-- Adds a request that counts as begun until it is finished.
local function add(queue, account, begun, bytes)
	if not queue:has_room(account, bytes or 1) then return false; end
	queue:add(account, bytes or 1, function () begun[#begun + 1] = account; end);
	return true;
end

function tests.an_account_has_few_requests_at_work()
	local queue, begun = turns.new(), {};
	for _ = 1, 5 do add(queue, "a", begun); end
	equal(table.concat(begun), "aa");
	queue:finish("a");
	equal(table.concat(begun), "aaa");
	for _ = 1, 2 do queue:finish("a"); end
	equal(table.concat(begun), "aaaaa");
	for _ = 1, 2 do queue:finish("a"); end
	equal(next(queue.queues), nil);
	equal(queue.bytes, 0);
	equal(queue.at_work, 0);
end

function tests.accounts_take_turns_when_all_places_are_taken()
	local queue, begun = turns.new(), {};
	for number = 1, 128 do
		for _ = 1, 2 do add(queue, number, begun); end
	end
	for _ = 1, 50 do add(queue, "a", begun); end
	add(queue, "b", begun);
	equal(#begun, 256);
	for number = 1, 4 do queue:finish(number); end
	equal(begun[257], "a");
	equal(begun[258], "b");
	equal(begun[259], "a");
	equal(#begun, 259);
end

local function add_done_at_once(queue, begun)
	for _ = 1, 500 do
		queue:add("a", 1, function ()
			begun[#begun + 1] = "a";
			queue:finish("a");
		end);
	end
end

function tests.a_request_that_is_done_at_once_lets_the_next_one_begin()
	local begun = {};
	add_done_at_once(turns.new(), begun);
	equal(#begun, 500);
end

function tests.many_requests_that_are_done_at_once_are_not_begun_in_each_other()
	local queue, begun, done = turns.new(), {}, {};
	for _ = 1, 2 do add(queue, "a", begun); end
	add_done_at_once(queue, done);
	queue:finish("a");
	equal(#done, 500);
end

function tests.a_request_that_fails_to_begin_does_not_hold_up_others()
	local queue, begun = turns.new(), {};
	equal(pcall(queue.add, queue, "a", 1, function () error("no"); end), false);
	add(queue, "b", begun);
	equal(table.concat(begun), "b");
end

function tests.what_waits_is_bounded()
	local queue, begun = turns.new(), {};
	local count = 0;
	while add(queue, "a", begun) do count = count + 1; end
	equal(count, 2 + 512);
	equal(add(queue, "b", begun), true);
	count = 0;
	while add(queue, "c", begun, 128 * 1024) do count = count + 1; end
	equal(count, 2 + 4);
	count = 0;
	while queue:has_room(count, 128 * 1024) do
		for _ = 1, 6 do add(queue, count, begun, 128 * 1024); end
		count = count + 1;
	end
	assert(queue.bytes <= 64 * 1024 * 1024);
	assert(count > 100);
end

-- Adds a request of another server's account, as add does.
local function add_abroad(queue, account, begun, bytes)
	if not queue:has_room(account, bytes or 1, "server") then return false; end
	queue:add(account, bytes or 1, function () begun[#begun + 1] = account; end, "server");
	return true;
end

function tests.the_accounts_of_another_server_have_one_share()
	local queue, begun = turns.new(), {};
	for number = 1, 300 do add_abroad(queue, "x"..number, begun); end
	equal(#begun, 32);
	add(queue, "a", begun);
	equal(begun[33], "a");
	queue:finish("x1");
	equal(begun[34], "x33");
	for number = 2, 300 do queue:finish("x"..number); end
	queue:finish("a");
	equal(#begun, 301);
	equal(next(queue.queues) or next(queue.groups), nil);
end

function tests.the_accounts_of_another_server_take_turns_among_each_other()
	local queue, begun = turns.new(), {};
	for number = 1, 16 do
		for _ = 1, 2 do add_abroad(queue, "x"..number, begun); end
	end
	for _ = 1, 50 do add_abroad(queue, "y", begun); end
	add_abroad(queue, "z", begun);
	for number = 1, 3 do queue:finish("x"..number); end
	equal(table.concat(begun, "", 33), "yzy");
end

function tests.another_server_cannot_take_the_room_of_others()
	local queue, begun, count = turns.new(), {}, 0;
	while add_abroad(queue, "x"..count, begun, 100) do count = count + 1; end
	equal(count, 32 + 4096);
	equal(add(queue, "a", begun), true);
	queue, count = turns.new(), 0;
	while add_abroad(queue, "x"..count, begun, 128 * 1024) do count = count + 1; end
	equal(count, 32 + 32);
	equal(add(queue, "a", begun), true);
end

-- Accounts that come and go at random: nobody has more than a share, nobody is passed over, and all is bounded.
function tests.random_requests_are_bounded_and_share_the_places()
	local KiB = 1024;
	for seed = 1, 6 do
		math.randomseed(seed);
		local queue, working, total = turns.new(), {}, 0;
		-- For each account without a request at work: how often each other one began before it.
		local passed = {};
		local function begin(account)
			working[account], total = (working[account] or 0) + 1, total + 1;
			passed[account] = nil;
			for _, others in pairs(passed) do
				others[account] = (others[account] or 0) + 1;
				assert(others[account] <= 1, "an account was passed over");
			end
		end
		for _ = 1, 3000 do
			local account, bytes = math.random(math.random() < 0.5 and 3 or 300), math.random(128 * KiB);
			if math.random() < 0.7 then
				if queue:has_room(account, bytes) then
					local own = queue.queues[account];
					if not own then passed[account] = {}; end
					queue:add(account, bytes, function () begin(account); end);
				end
			elseif (working[account] or 0) > 0 then
				working[account], total = working[account] - 1, total - 1;
				queue:finish(account);
			end
			local waiting = 0;
			for name, own in pairs(queue.queues) do
				waiting = waiting + own.bytes;
				assert((working[name] or 0) <= 2 and own.waiting <= 512 and own.bytes <= 512 * KiB);
			end
			assert(total <= 256 and total == queue.at_work);
			assert(waiting == queue.bytes and waiting <= 64 * KiB * KiB);
		end
	end
end

-- Whether so much waits for an asker that a page is too much.
--   session: by which the asker is reached
--   is_local: whether it is the session that asks; else it goes to another server
local function is_behind(session, is_local)
	local hosts = { rooms = { s2sout = { there = not is_local and session or nil } } };
	local unread = part("unread.lib.lua", { module = { host = "rooms" }, prosody = { hosts = hosts } })();
	return unread.is_behind { is_local = is_local, origin = is_local and session or {}, asker = "a@there/r" };
end

function tests.nobody_gets_a_page_before_those_that_came_are_read()
	local half = ("x"):rep(512 * 1024);
	local dbuffer = setmetatable({}, { __len = function () return 2 * #half; end });
	local longer = setmetatable({}, { __len = function () return 2 * #half + 1; end });
	for _, is_local in ipairs { true, false } do
		for _, few in ipairs { "", half, { half, half }, dbuffer } do
			equal(is_behind({ conn = { writebuffer = few } }, is_local), false);
		end
		for _, many in ipairs { half..half.."x", { half, "x", half }, longer } do
			equal(is_behind({ conn = { writebuffer = many } }, is_local), true);
		end
		equal(is_behind({ conn = {} }, is_local), false);
	end
	-- Over BOSH, and to a server that is not connected yet.
	equal(is_behind({ send_buffer = { half, half } }, true), false);
	equal(is_behind({ send_buffer = { half, half, "x" } }, true), true);
	equal(is_behind({ sendq = {} }, false), true);
	equal(is_behind(nil, false), false);
end

-- Time that passes by as much as each step takes.
local function new_scene()
	local scene = { time = 0, timers = {}, steps = {} };
	scene.delivery = deliveries.new(function () return scene.time; end, function (_, callback)
		table.insert(scene.timers, callback);
		return callback;
	end);
	function scene:page(session, name, steps, seconds)
		self.delivery:add(session, function ()
			if steps == 0 then return false; end
			steps, self.time = steps - 1, self.time + seconds;
			table.insert(self.steps, name);
			return true;
		end, function (err) table.insert(self.steps, err and "error" or "end "..name); end);
	end
	-- Runs the timers once, as one round of Prosody's loop; gives the time that it took.
	function scene:round()
		local began, due = self.time, self.timers;
		self.timers = {};
		for _, callback in ipairs(due) do
			if callback() == 0 then table.insert(self.timers, callback); end
		end
		return self.time - began;
	end
	function scene:run()
		local longest, rounds = 0, 0;
		while self.timers[1] do longest, rounds = math.max(longest, self:round()), rounds + 1; end
		return longest, rounds;
	end
	return scene;
end

function tests.a_page_holds_the_loop_for_a_slice_at_a_time()
	local scene = new_scene();
	scene:page({}, "a", 100, 0.001);
	local longest, rounds = scene:run();
	assert(longest <= 0.0061, longest);
	assert(rounds >= 15);
	equal(scene.steps[#scene.steps], "end a");
end

function tests.many_pages_hold_it_no_longer_together()
	local scene = new_scene();
	for number = 1, 20 do scene:page({}, tostring(number), 20, 0.001); end
	assert((scene:run()) <= 0.0061);
end

function tests.a_small_page_does_not_wait_for_a_large_one()
	local scene = new_scene();
	scene:page({}, "a", 1000, 0.001);
	scene:page({}, "b", 2, 0.001);
	scene:round();
	scene:round();
	equal(table.concat(scene.steps, " ", 1, 6), "a b a b a end b");
end

function tests.a_session_gets_its_pages_one_after_the_other()
	local scene, session = new_scene(), {};
	scene:page(session, "a", 2, 0.001);
	scene:page(session, "b", 2, 0.001);
	scene:run();
	equal(table.concat(scene.steps, " "), "a a end a b b end b");
	scene:page(session, "c", 1, 0.001);
	scene:run();
	equal(scene.steps[#scene.steps], "end c");
end

function tests.an_error_ends_one_page()
	local scene = new_scene();
	scene.delivery:add({}, function () error("oh"); end, function (err) equal(err:match("oh$"), "oh"); end);
	scene:page({}, "a", 1, 0.001);
	scene:run();
	equal(table.concat(scene.steps, " "), "a end a");
end

function tests.what_is_left_is_handed_out_at_the_end()
	local scene = new_scene();
	scene:page({}, "a", 100, 0.001);
	scene.delivery:close();
	equal(#scene.steps, 101);
	scene:run();
end

local failed = 0;
for name, test in pairs(tests) do
	local ok, err = xpcall(test, debug.traceback);
	if not ok then
		failed = failed + 1;
		print(name..": "..err);
	end
end
os.exit(failed == 0);
