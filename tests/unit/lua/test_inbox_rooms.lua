-- Tests of the rooms in an inbox: who is asked, and what is taken. Argument: the module's directory.

local MODULE = ...;

local st = require "util.stanza";

local OWNER, HOST, ROOMS = "juliet@capulet.lit", "capulet.lit", "rooms.capulet.lit";

local function equal(found, expected)
	if found ~= expected then
		error(("expected %s, found %s"):format(tostring(expected), tostring(found)), 2);
	end
end

local function load_part(name, module, env)
	env.module = module;
	return assert(loadfile(MODULE.."/"..name, "t", setmetatable(env, { __index = _G })))();
end

-- Returns a host whose account has bookmarks, and what it asked the components and its timers.
--   answer: gets the data of a request, and returns the number of rooms
local function new_host(bookmarks, answer)
	local asked, timers = {}, {};
	local items = {};
	for number, id in ipairs(bookmarks) do
		items[number] = id;
		items[id] = st.stanza("item", { id = id }):tag("conference", { xmlns = "urn:xmpp:bookmarks:1" }):up();
	end
	local service = { get_items = function () return true, items; end };
	local hosts = {
		[HOST] = { modules = { pep = { get_pep_service = function () return service; end }, stanzalake = {} } };
		[ROOMS] = { modules = { stanzalake = {} } }, ["plain.capulet.lit"] = { modules = {} };
	};
	local directory = { kind_of = function (host) return host == HOST and "accounts" or "rooms"; end };
	local module = { host = HOST };
	local env = { prosody = { hosts = hosts } };
	function module.require(_, name)
		return name == "directory" and directory or load_part(name..".lib.lua", module, env);
	end
	function module.context(_, host)
		return { fire_event = function (_, name, data)
			equal(name, "stanzalake-room-entries");
			asked[#asked + 1] = host;
			return answer(data);
		end };
	end
	function module.add_timer(_, _, expire)
		timers[#timers + 1] = expire;
		return { stop = function () timers[#timers] = nil; end };
	end
	return load_part("inbox_rooms.lib.lua", module, env), asked, timers;
end

local function entry(name, bytes)
	return { jid = name.."@"..ROOMS, id = name, position = 1, unread = 0, bytes = bytes or 0 };
end

-- Collects, and returns the list of entries, nil as long as it waits.
local function collect(rooms)
	local iq = st.iq { type = "get", id = "q" };
	local request = { owner = OWNER, asker = OWNER.."/1", iq = iq, inbox = { messages = true } };
	local result = {};
	rooms.collect(request, {}, function (entries)
		equal(result.entries, nil);
		result.entries = entries;
	end);
	return result;
end

local tests = {};

function tests.only_rooms_of_this_prosody_with_archives_are_asked()
	local wanted;
	local rooms, asked = new_host({
		"Hall@"..ROOMS:upper(), "hall@"..ROOMS, "hall@"..ROOMS.."/nick", OWNER, ROOMS, "";
		"x@elsewhere.lit", "x@plain.capulet.lit";
	}, function (data)
		wanted = data;
		return 0;
	end);
	equal(#collect(rooms).entries, 0);
	equal(table.concat(asked, " "), ROOMS);
	equal(table.concat(wanted.rooms, " "), "hall@"..ROOMS);
	equal(wanted.account, OWNER);
	equal(wanted.limit, 50);
end

function tests.an_account_without_bookmarks_asks_nobody()
	local rooms, asked = new_host({}, function () error("asked"); end);
	equal(#collect(rooms).entries, 0);
	equal(#asked, 0);
end

function tests.rooms_that_do_not_answer_in_time_are_left_out()
	local collection;
	local rooms, _, timers = new_host({ "a@"..ROOMS, "b@"..ROOMS, "c@"..ROOMS }, function (data)
		collection = data.collection;
		return #data.rooms;
	end);
	local result = collect(rooms);
	collection:take(entry("a"));
	collection:take(nil);
	equal(result.entries, nil);
	timers[1]();
	equal(#result.entries, 1);
	collection:take(entry("c"));
	equal(#result.entries, 1);
end

function tests.names_and_messages_take_a_bounded_amount_of_memory()
	local collection;
	local rooms = new_host({ "a@"..ROOMS, "b@"..ROOMS, "c@"..ROOMS, "d@"..ROOMS }, function (data)
		collection = data.collection;
		return #data.rooms;
	end);
	local result = collect(rooms);
	collection:take(entry("a", 200 * 1024));
	collection:take(entry("b", 100 * 1024));
	collection:take(entry(("c"):rep(17 * 1024)));
	collection:take(entry("d", 10));
	equal(#result.entries, 2);
	equal(result.entries[2].id, "d");
end

function tests.an_end_of_a_page_is_found_in_the_rooms_that_are_listed()
	local rooms = new_host({}, function () return 0; end);
	local function open(owner, id) return owner == "a@"..ROOMS and id == "older" and 7 or nil; end
	local listed, anchors = rooms.format({ entry("a"), entry("b") }, { "older", "b" }, open);
	equal(#listed, 2);
	equal(anchors.older.jid, "a@"..ROOMS);
	equal(anchors.older.position, 7);
	equal(anchors.b.position, 1);
	listed, anchors = rooms.format({}, { "older" }, open);
	equal(listed or anchors, nil);
end

-- Returns a component's part that answers, its rooms by JID, and what was asked of the archives.
local function new_component(live, rights)
	local asked, timers, hook = {}, {}, nil;
	local rooms = {};
	for room_jid in pairs(rights) do rooms[room_jid] = { jid = room_jid, _data = {} }; end
	local muc = { get_room_from_jid = function (room_jid) return rooms[room_jid]; end };
	function muc.live_rooms()
		local number = 0;
		return function ()
			number = number + 1;
			return live[number] and rooms[live[number]];
		end;
	end
	local parts = {
		room_access = { rights_of = function (room) return rights[room.jid] or nil, "auth", "forbidden"; end };
		turns = load_part("turns.lib.lua", {}, {});
		room_archiving = { is_archived = function (room) return not room.is_off; end };
	};
	local module = {};
	function module.require(_, name) return parts[name]; end
	function module.depends() return muc; end
	function module.hook(_, _, handler) hook = handler; end
	function module.add_timer(_, _, called) table.insert(timers, called); end
	local forwarder = {};
	function forwarder.ask_archive(_, request, answered)
		asked[#asked + 1] = { owner = request.owner, request = request, answered = answered };
	end
	load_part("room_entries.lib.lua", module, {}).start(forwarder);
	local function run()
		while timers[1] do table.remove(timers, 1)(); end
	end
	local function request(data)
		local count = hook(data);
		run();
		return count;
	end
	return request, rooms, asked, run;
end

local function new_data(names, limit)
	local taken = {};
	local collection = { take = function (_, found) taken[#taken + 1] = found or false; end };
	local data = {
		account = OWNER, asker = OWNER.."/1", id = "q", messages = true, rooms = names, displayed = {}, limit = limit or 50;
		collection = collection;
	};
	return data, taken;
end

local function reply_of(ask)
	local message = st.message({ from = ask.owner, to = OWNER.."/1" })
		:tag("entry", { xmlns = "urn:xmpp:inbox:1", unread = "2", jid = ask.owner, id = "id" }):up()
		:tag("result", { xmlns = "urn:xmpp:mam:2", id = "id" }):up();
	ask.answered(st.iq { type = "result", id = "q" }, { message }, true, { 5 });
end

function tests.rooms_in_memory_are_asked_first_and_no_more_than_allowed()
	local everybody = { whois = "moderators" };
	local names = { "a", "b", "c" };
	local request, _, asked = new_component({ "c" }, { a = everybody, b = everybody, c = everybody });
	equal(request(new_data(names, 2)), 2);
	equal(#asked, 2);
	equal(asked[1].owner, "c");
	equal(asked[2].owner, "a");
	equal(asked[1].request.room, everybody);
	equal(asked[1].request.asker, OWNER.."/1");
end

function tests.an_account_has_two_rooms_asked_at_a_time()
	local everybody = { whois = "moderators" };
	local request, _, asked, run = new_component({}, { a = everybody, b = everybody, c = everybody, d = everybody });
	local data, taken = new_data { "a", "b", "c", "d" };
	request(data);
	equal(#asked, 2);
	asked[1].answered(nil);
	run();
	equal(#asked, 3);
	-- Nobody waits for the others any more.
	data.collection.closed = true;
	asked[2].answered(nil);
	run();
	equal(#asked, 3);
	equal(#taken, 3);
end

function tests.the_archive_of_a_room_without_access_is_not_asked()
	local request, rooms, asked = new_component({}, { a = false, off = {}, gone = {}, b = { whois = "anyone" } });
	rooms.off.is_off, rooms.gone._data.destroyed = true, true;
	local data, taken = new_data { "a", "off", "gone", "none", "b" };
	equal(request(data), 5);
	equal(#asked, 1);
	equal(#taken, 4);
	reply_of(asked[1]);
	equal(taken[5].jid, "b");
	equal(taken[5].position, 5);
	equal(taken[5].unread, 2);
	equal(taken[5].bytes > 0, true);
end

function tests.an_answer_is_dropped_if_access_changed_meanwhile()
	local former = { whois = "anyone", moderator = false };
	local changes = {
		function (rights) rights.a = false; end;
		function (rights) rights.a = { whois = "moderators", moderator = false }; end;
		function (rights) rights.a = { whois = "anyone", moderator = true }; end;
		function (_, rooms) rooms.a.is_off = true; end;
		function (_, rooms) rooms.a._data.destroyed = true; end;
		function (_, rooms) rooms.a = nil; end;
	};
	for _, change in ipairs(changes) do
		local rights = { a = former };
		local request, rooms, asked = new_component({}, rights);
		local data, taken = new_data { "a" };
		request(data);
		change(rights, rooms);
		reply_of(asked[1]);
		equal(taken[1], false);
	end
end

function tests.an_answer_without_an_entry_adds_nothing()
	for _, answer in ipairs { {}, { st.iq { type = "result", id = "q" }, {}, true, {} } } do
		local request, _, asked = new_component({}, { a = { whois = "anyone" } });
		local data, taken = new_data { "a" };
		request(data);
		asked[1].answered(table.unpack(answer));
		equal(taken[1], false);
	end
end

for name, test in pairs(tests) do
	local ok, err = xpcall(test, debug.traceback);
	if not ok then error(name..": "..err, 0); end
end
