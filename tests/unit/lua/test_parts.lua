-- Tests of the tap's pure parts. Arguments: the module's directory, a scratch directory, the vectors of ids.

local MODULE, SCRATCH, VECTORS = ...;

local lfs = require "lfs";
local st = require "util.stanza";

local function part(name, env)
	env = setmetatable(env or {}, { __index = _G });
	return assert(loadfile(MODULE.."/"..name, "t", env));
end

local checkpoints = part("checkpoints.lib.lua")();
local copies = part("copies.lib.lua")();
local event = part("event.lib.lua")();
local journals = part("journal.lib.lua")();
local options = part("options.lib.lua")();
local position = part("position.lib.lua")();
local stanza_ids = part("stanza_ids.lib.lua")();
local backlog = part("backlog.lib.lua", { module = {
	require = function (_, name) return ({ event = event, journal = journals })[name]; end;
} })();

local function equal(found, expected)
	if found ~= expected then
		error(("expected %s, found %s"):format(tostring(expected), tostring(found)), 2);
	end
end

local directories = 0;
local function new_directory()
	directories = directories + 1;
	return ("%s/%d/deep"):format(SCRATCH, directories);
end

local function files(directory)
	local names = {};
	for name in lfs.dir(directory) do
		if name:find("ndjson$") then names[#names + 1] = name; end
	end
	table.sort(names);
	return names;
end

local function change(path, mode, text)
	local file = assert(io.open(path, mode));
	file:write(text);
	file:close();
end

-- Reads everything from an offset on.
local function read_all(journal, offset)
	local parts = {};
	while offset < journal.written do
		local text;
		text, offset = assert(journal:read(offset, 10));
		parts[#parts + 1] = text;
	end
	return table.concat(parts);
end

local tests = {};

-- Lua gives attributes in an order that depends on how a table came to be.
local function private_message(order, to, changes)
	local stanza = st.message({}, "psst"):tag("x", { xmlns = "http://jabber.org/protocol/muc#user" }):up();
	local attributes = { id = "p1", from = "hall@rooms/Nick", type = "chat", to = to, ["xml:lang"] = "en" };
	for name, value in pairs(changes or {}) do attributes[name] = value; end
	for i = 1, 20 do stanza.attr["a"..(i * order % 23)] = ""; end
	for name in pairs(stanza.attr) do stanza.attr[name] = nil; end
	for name, value in pairs(attributes) do stanza.attr[name] = value; end
	return stanza;
end

local function with_id_by(by)
	return st.message({}, "hello"):tag("stanza-id", { xmlns = "urn:xmpp:sid:0", by = by, id = "1" }):up();
end

function tests.a_message_is_copied_only_to_take_off_an_id_of_the_owner()
	local owner, room = "juliet@capulet.lit", "hall@rooms.capulet.lit";
	local of_room, forged = with_id_by(room), with_id_by("Juliet@capulet.LIT");
	equal(stanza_ids.without_ids(of_room, owner), of_room);
	local clean = stanza_ids.without_ids(forged, owner);
	equal(clean ~= forged and #clean.tags, 1);
	equal(#forged.tags, 2);
	equal(stanza_ids.without_ids(with_id_by(nil), owner):get_child("stanza-id", "urn:xmpp:sid:0") ~= nil, true);
end

function tests.copies_differ_in_their_session_alone()
	local owner = "romeo@capulet.lit";
	local key = copies.key_of(private_message(1, owner.."/one"), owner);
	for order = 1, 22 do equal(copies.key_of(private_message(order, owner.."/two"), owner), key); end
	for name, value in pairs { id = "p2", from = "hall@rooms/Other", type = "normal" } do
		local other = copies.key_of(private_message(1, owner.."/two", { [name] = value }), owner);
		equal(other ~= nil and other ~= key, true);
	end
	equal(copies.key_of(private_message(1, owner), "juliet@capulet.lit") ~= key, true);
	equal(copies.key_of(private_message(1, owner, { from = "hall@rooms" }), owner), nil);
	equal(copies.key_of(st.message({ id = "p1", from = "hall@rooms/Nick" }, "psst"), owner), nil);
end

function tests.attempts_are_logged_though_the_clock_was_set_back()
	local wall, elapsed, lines, counted = 1e9, 0, 0, 0;
	local time = { now = function () return wall; end, monotonic = function () return elapsed; end };
	local throttle = part("throttle.lib.lua", { require = function () return time; end })();
	local foreign = part("foreign.lib.lua", {
		module = {
			require = function () return throttle; end;
			measure = function () return function (number) counted = counted + number; end; end;
			log = function () lines = lines + 1; end;
		};
	})();
	local record = foreign.new_recorder();
	local attempt = st.message({ from = "romeo@capulet.lit/x", to = "juliet@capulet.lit" });
	for _ = 1, 2 do record(attempt); end
	equal(lines, 1);
	wall, elapsed = wall - 86400, elapsed + 60;
	record(attempt);
	equal(lines, 2);
	equal(counted, 3);
end

function tests.only_a_rooms_event_has_an_occupant()
	local message = {
		position = 1, owner = "hall@rooms", peer = "hall@rooms", peer_resource = "Nick", direction = "in";
		kind = "groupchat", contact = false, stanza = "<message/>";
	};
	equal(event.encode(message):find("occupant", 1, true), nil);
	for occupant, written in pairs { [""] = '""', ["o\\'x@capulet.lit"] = '"o\\\\\'x@capulet.lit"' } do
		message.occupant = occupant;
		equal(event.encode(message):match('"occupant":("[^,]*),'), written);
	end
end

function tests.ids_are_those_of_the_vectors()
	local vectors = dofile(VECTORS);
	assert(#vectors > 10);
	for _, vector in ipairs(vectors) do
		equal(position.new_sealer(vector.key)(vector.owner, vector.position), vector.id);
	end
end

function tests.an_id_opens_under_any_key_for_its_owner_alone()
	for _, vector in ipairs(dofile(VECTORS)) do
		local open = position.new_opener({ ("k"):rep(32), vector.key });
		equal(open(vector.owner, vector.id), vector.position);
		equal(open(vector.owner.."x", vector.id), nil);
		equal(position.new_opener({ ("k"):rep(32) })(vector.owner, vector.id), nil);
		for _, forged in ipairs { "", "x", vector.id.."x", vector.id:sub(2), ("x"):rep(22), (" "):rep(22), ("\0"):rep(22) } do
			equal(open(vector.owner, forged), nil);
		end
	end
end

function tests.positions_increase_when_the_clock_does_not()
	local times = { 1000.5, 1000.5, 1000.501, 999, 2000 };
	local sequence = position.new_sequence(function () return table.remove(times, 1); end, 0);
	equal(sequence:next(), 1000500 << 16);
	equal(sequence:next(), (1000500 << 16) + 1);
	equal(sequence:next(), 1000501 << 16);
	equal(sequence:next(), (1000501 << 16) + 1);
	equal(sequence:next(), 2000000 << 16);
end

function tests.positions_go_on_from_the_last_one()
	local sequence = position.new_sequence(function () return 1; end, 117650718720000000);
	equal(sequence:next(), 117650718720000001);
end

function tests.a_mark_is_above_every_position_of_any_owner()
	local ahead = { last = 5000 << 26, owners = { ["juliet@capulet.lit"] = true } };
	local sequence = position.new_sequence(function () return 1000; end, 0, ahead);
	for _ = 1, 2 do
		local before = math.max(sequence:next("juliet@capulet.lit"), sequence:next("romeo@capulet.lit"));
		local mark = sequence:mark();
		assert(mark > before);
		assert(sequence:next("juliet@capulet.lit") > mark);
	end
	assert(position.new_sequence(function () return 1; end, 7):mark() > 7);
end

local MESSAGE = {
	position = 117650718720000000, owner = "juliet@capulet.lit", peer = "romeo@montague.lit";
	peer_resource = "orchard", direction = "in", kind = "chat", contact = true, stanza = "<message/>";
};

local function with(changes)
	return event.encode(setmetatable(changes, { __index = MESSAGE }));
end

function tests.an_event_is_one_line_that_keeps_every_character()
	local all = {};
	for code = 0, 255 do all[#all + 1] = string.char(code); end
	local line = with { stanza = table.concat(all) };
	equal(line:find("[\0-\31]"), #line);
	assert(line:find('\\u0000\\u0001', 1, true));
	assert(line:find('\\t\\n\\u000b\\u000c\\r\\u000e', 1, true));
	assert(line:find(' !\\"#', 1, true));
	assert(line:find('[\\\\]', 1, true));
	assert(line:find("\127\128\129", 1, true));
end

-- Children of all kinds, with and without what needs an escape.
local function any_stanza(chance)
	local element = st.stanza("e"..chance(3), {
		xmlns = chance(2) == 1 and "urn:"..chance(2) or nil, a = chance(4) == 1 and "<'>" or "v";
		["urn:n\1k"] = chance(9) == 1 and "v" or nil;
	});
	for _ = 1, chance(4) - 2 do
		element:text(chance(9) == 1 and "\"&" or "text"):add_child(any_stanza(chance));
	end
	return element;
end

function tests.a_stanzas_text_is_what_prosody_makes_of_it()
	math.randomseed(313);
	for _ = 1, 2000 do
		local stanza = any_stanza(math.random);
		equal(event.text_of(stanza), tostring(stanza));
	end
end

-- Changes something in an element or below it, in place.
local function change_any(element, chance)
	local child = #element.tags > 0 and chance(2) == 1 and element.tags[chance(#element.tags)];
	if child then return change_any(child, chance); end
	local way = chance(5);
	if way == 1 then element.attr.a = element.attr.a.."x";
	elseif way == 2 then element.attr["b"..chance(2)] = "w";
	elseif way == 3 then element:text("more");
	elseif way == 4 then element.name = element.name.."x";
	else element:reset():tag("child"):reset(); end
end

function tests.a_stanza_that_a_handler_changed_between_two_archives_is_written_anew()
	math.randomseed(313);
	for _ = 1, 2000 do
		local stanza = any_stanza(math.random);
		local text = event.text_of(stanza);
		local copy = st.clone(stanza);
		equal(event.text_of(copy), tostring(copy));
		equal(event.text_of(stanza), text);
		change_any(stanza, math.random);
		equal(event.text_of(stanza), tostring(stanza));
		equal(text == tostring(stanza), false);
	end
end

function tests.children_are_no_attributes_and_texts_no_names()
	local a = st.stanza("e", { a = "b" }):text("c");
	for _, other in ipairs {
		st.stanza("e"):text("a"):text("b"):text("c"), st.stanza("e", { a = "b" }):tag("c"):reset();
		st.stanza("e", { a = "b" });
	} do
		for _, stanza in ipairs { a, other, a } do equal(event.text_of(stanza), tostring(stanza)); end
	end
end

function tests.nothing_of_former_stanzas_stays_in_memory()
	local function message(children)
		local stanza = st.message();
		for _ = 1, children do stanza:tag("a"):up(); end
		return stanza;
	end
	event.text_of(message(1));
	collectgarbage();
	local before = collectgarbage("count");
	for children = 400, 0, -2 do
		event.text_of(message(children):text(("x"):rep(50 * 1024)..children));
	end
	event.text_of(message(100000));
	event.text_of(message(1));
	collectgarbage();
	local grown = collectgarbage("count") - before;
	assert(grown < 512, ("%.0f KiB stay"):format(grown));
end

function tests.a_position_is_found_whatever_the_message_says()
	local line = with { stanza = '"position":1', peer_resource = '","position":2' };
	equal(event.position_of(line), MESSAGE.position);
	equal(event.position_of("{}"), nil);
end

function tests.a_batch_ends_with_the_last_line_that_fits_however_long_lines_are()
	local journal = journals.open(new_directory(), 1e9, 1e9);
	local lines = { ("a"):rep(3000), "b", ("c"):rep(6000), "d", ("e"):rep(20000), "f", "g" };
	for _, line in ipairs(lines) do assert(journal:append(line.."\n")); end
	local offset, batches = 0, {};
	while offset < journal.written do
		local text;
		text, offset = assert(journal:read(offset, 9000));
		batches[#batches + 1] = text:gsub("%a+\n", function (line) return line:sub(1, 1); end);
	end
	equal(table.concat(batches, " "), "ab cd e fg");
end

function tests.a_journal_gives_back_what_was_appended()
	local journal = journals.open(new_directory(), 20, 1000);
	equal(journal:read(0, 100), nil);
	for _, line in ipairs { "one", "two", "a line over the ten bytes of a read", "three" } do
		assert(journal:append(line.."\n"));
	end
	equal(read_all(journal, 0), "one\ntwo\na line over the ten bytes of a read\nthree\n");
	equal(#files(journal.directory), 2);
	equal((journal:read(0, 9)), "one\ntwo\n");
	equal((journal:read(0, 8)), "one\ntwo\n");
	equal((journal:read(0, 7)), "one\n");
	equal((journal:read(0, 1)), "one\n");
end

function tests.a_journal_is_found_again_without_its_torn_line()
	local directory = new_directory();
	local journal = journals.open(directory, 1000, 1000);
	journal:append("one\n");
	journal:append("two\n");
	journal:close();
	change(journal:segment_path(0), "ab", "tor");
	journal = journals.open(directory, 1000, 1000);
	equal(journal.last_line, "two");
	equal(journal.written, 8);
	journal:append("three\n");
	equal(read_all(journal, 0), "one\ntwo\nthree\n");
	journal:close();
	equal(read_all(journals.open(directory, 1000, 1000), 0), "one\ntwo\nthree\n");
end

function tests.a_journal_of_a_torn_line_alone_is_empty()
	local directory = new_directory();
	journals.open(directory, 1000, 1000):close();
	change(directory.."/00000000000000000000.ndjson", "wb", "tor");
	local journal = journals.open(directory, 1000, 1000);
	equal(journal.written, 0);
	equal(journal.last_line, nil);
	journal:append("one\n");
	equal(read_all(journal, 0), "one\n");
end

function tests.a_failed_write_leaves_no_trace()
	local directory = new_directory();
	local journal = journals.open(directory, 1000, 1000);
	journal:append("one\n");
	journal:close();
	assert(lfs.link("/dev/full", journal:segment_path(4), true));
	for _ = 1, 2 do
		local offset, reason = journal:append("lost\n");
		equal(offset, nil);
		assert(reason:find("No space left"));
	end
	equal(journal.written, 4);
	os.remove(journal:segment_path(4));
	equal(journal:append("two\n"), 8);
	equal(read_all(journal, 0), "one\ntwo\n");
	journal:close();
	equal(journals.open(directory, 1000, 1000).last_line, "two");
end

function tests.bytes_of_a_failed_write_are_hidden()
	local journal = journals.open(new_directory(), 1000, 1000);
	journal:append("one\n");
	change(journal:segment_path(0), "ab", "partial");
	journal:close();
	journal:append("two\n");
	equal(read_all(journal, 0), "one\ntwo\n");
end

function tests.a_journal_respects_its_limit()
	local journal = journals.open(new_directory(), 1000, 10);
	assert(journal:append("12345\n"));
	equal(select(2, journal:append("12345\n")), "the journal is at its size limit");
	journal:release(6);
	assert(journal:append("12345\n"));
end

function tests.a_segment_goes_after_its_acknowledgement_is_saved()
	local directory = new_directory();
	local journal = journals.open(directory, 5, 1000);
	for _, line in ipairs { "aaaa", "bbbb" } do journal:append(line.."\n"); end
	journal:release(5);
	equal(#files(directory), 2);
	journal:close();
	equal(#journals.open(directory, 5, 1000):take_gaps(), 0);
	journal:save(7);
	equal(#files(directory), 1);
	equal(#journals.open(directory, 5, 1000):take_gaps(), 0);
end

function tests.released_segments_go_but_the_last_line_stays()
	local directory = new_directory();
	local journal = journals.open(directory, 5, 1000);
	for _, line in ipairs { "aaaa", "bbbb", "cccc" } do journal:append(line.."\n"); end
	equal(#files(directory), 3);
	journal:release(9);
	journal:save(6);
	equal(#files(directory), 3 - 1);
	journal:release(15);
	journal:save(7);
	equal(#files(directory), 1);
	journal:close();
	journal = journals.open(directory, 5, 1000);
	equal(journal.last_line, "cccc");
	equal(journal.acked, 15);
	equal(journal.last_position, 7);
	journal:append("dddd\n");
	equal(read_all(journal, 15), "dddd\n");
end

function tests.without_the_acked_file_a_journal_begins_at_its_first_line()
	for _, damage in ipairs { "", "x", "15", "15 7", "99 0\n" } do
		local directory = new_directory();
		local journal = journals.open(directory, 5, 1000);
		for _, line in ipairs { "aaaa", "bbbb" } do journal:append(line.."\n"); end
		journal:release(5);
		journal:save(7);
		journal:close();
		change(directory.."/acked", "wb", damage);
		equal(journals.open(directory, 5, 1000).acked, damage == "99 0\n" and 99 or 5);
	end
end

function tests.a_line_after_a_crash_that_took_acknowledged_ones_is_found_again()
	local directory = new_directory();
	local journal = journals.open(directory, 100, 1000);
	journal:append("aaaa\n");
	journal:close();
	change(directory.."/acked", "wb", "7 0\n");
	journal = journals.open(directory, 100, 1000);
	journal:append("bbbb\n");
	journal:close();
	journal = journals.open(directory, 100, 1000);
	equal(read_all(journal, journal.acked), "bbbb\n");
end

function tests.a_torn_line_within_a_journal_is_skipped()
	local directory = new_directory();
	local journal = journals.open(directory, 5, 1000);
	for _, line in ipairs { "aaaa", "bbbb" } do journal:append(line.."\n"); end
	journal:close();
	change(journal:segment_path(0), "wb", "aa");
	equal(read_all(journals.open(directory, 5, 1000), 0), "bbbb\n");
end

function tests.the_backlog_counts_the_files_that_the_journal_reads()
	local directory = new_directory();
	equal(backlog.read(directory).segments, 0);
	local journal = journals.open(directory, 5, 1000);
	for _, line in ipairs { "aaaa", "bbbb" } do journal:append(line.."\n"); end
	change(directory.."/99.ndjson", "wb", "an operator's copy\n");
	local found = backlog.read(directory);
	equal(found.segments, #journals.find_segments(directory));
	equal(found.segments, 2);
	equal(found.written, journal.written);
end

-- Opens a journal of six lines in three segments.
local function open_three_segments()
	local journal = journals.open(new_directory(), 6, 1000);
	for _, line in ipairs { "a", "b", "c", "d", "e", "f" } do
		if #line > 0 then journal:append(line..line.."\n"); end
	end
	return journal;
end

local function equal_gap(journal, bytes, events)
	local gaps = journal:take_gaps();
	equal(#gaps, 1);
	equal(gaps[1].bytes, bytes);
	equal(gaps[1].events, events);
end

function tests.a_vanished_segment_is_a_gap_with_its_number_of_events()
	local journal = open_three_segments();
	os.remove(journal:segment_path(6));
	equal(read_all(journal, 0), "aa\nbb\nee\nff\n");
	equal_gap(journal, 6, 2);
	equal(read_all(journal, 0), "aa\nbb\nee\nff\n");
	equal(#journal:take_gaps(), 0);
end

function tests.segments_that_vanish_in_any_order_are_a_gap_each()
	for _, order in ipairs { { 0, 6, 12 }, { 12, 0, 6 }, { 6, 12, 0 }, { 12, 6, 0 }, { 6, 0, 12 } } do
		local journal = open_three_segments();
		read_all(journal, 0);
		for _, gone in ipairs(order) do
			os.remove(journal:segment_path(gone));
			read_all(journal, 0);
			equal_gap(journal, 6, 2);
			read_all(journal, 0);
			equal(#journal:take_gaps(), 0);
		end
		journal:release(18);
		equal(#journal.losses, 0);
	end
end

function tests.what_vanishes_of_a_segment_after_its_rest_is_another_gap()
	local journal = open_three_segments();
	local _, offset = journal:read(0, 1);
	os.remove(journal:segment_path(0));
	journal:read(offset, 1);
	equal_gap(journal, 3, 1);
	journal:read(0, 1);
	equal_gap(journal, 3, 1);
end

function tests.a_segment_that_vanishes_behind_a_read_is_a_gap_of_the_rest()
	local journal = open_three_segments();
	local _, offset = journal:read(0, 1);
	journal:release(offset);
	os.remove(journal:segment_path(0));
	equal(read_all(journal, offset), "cc\ndd\nee\nff\n");
	equal_gap(journal, 3, 1);
end

function tests.a_read_with_a_limit_ends_there_if_all_is_lost()
	local journal = open_three_segments();
	os.remove(journal:segment_path(0));
	local text, offset = journal:read(0, 3, 3);
	equal(text, "");
	equal(offset, 3);
end

function tests.a_segment_that_vanishes_while_the_journal_is_closed_is_a_gap()
	for gone, expected in pairs { [0] = { 6, 2 }, [6] = { 6, 2 }, [12] = { 6, 2 } } do
		local journal = open_three_segments();
		journal:save(7);
		journal:close();
		os.remove(journal:segment_path(gone));
		journal = journals.open(journal.directory, 6, 1000);
		read_all(journal, journal.acked);
		equal_gap(journal, table.unpack(expected));
		journal:append("next\n");
		equal(read_all(journal, journal.acked):sub(-5), "next\n");
		equal(#journal:take_gaps(), 0);
	end
end

function tests.segments_that_were_acknowledged_are_no_loss()
	local journal = open_three_segments();
	journal:read(0, 6);
	journal:read(6, 6);
	journal:release(select(2, journal:read(12, 3)));
	journal:save(7);
	journal:close();
	os.remove(journal:segment_path(12));
	journal = journals.open(journal.directory, 6, 1000);
	equal(journal.acked, 15);
	equal_gap(journal, 3, 1);
end

function tests.a_deleted_newest_segment_gets_no_more_lines()
	local journal = open_three_segments();
	os.remove(journal:segment_path(12));
	journal:check_newest();
	journal:append("gg\n");
	equal(read_all(journal, 12), "gg\n");
	equal_gap(journal, 6, 2);
end

function tests.a_journal_of_an_earlier_version_has_its_lines_counted()
	local journal = open_three_segments();
	journal:close();
	change(journal.directory.."/acked", "wb", "3 7\n");
	journal = journals.open(journal.directory, 6, 1000);
	os.remove(journal:segment_path(6));
	equal(read_all(journal, journal.acked), "bb\nee\nff\n");
	equal_gap(journal, 6, 2);
end

local KEY = ("k"):rep(32);

local function read_options(given)
	given.stanzalake_id_keys = given.stanzalake_id_keys or KEY;
	return options.read(function (name) return given[name]; end, "/journal");
end

local function sorted(text)
	local words = {};
	for word in text:gmatch("%S+") do words[#words + 1] = word; end
	table.sort(words);
	return table.concat(words, " ");
end

-- Segments that vanish at random, in an open journal and in a closed one.
function tests.every_line_is_read_or_said_to_be_lost()
	for seed = 1, 60 do
		math.randomseed(seed);
		local directory = new_directory();
		local journal = journals.open(directory, 60, 1000000);
		local offset, appended, found = 0, 0, 0;
		local function count_gaps()
			for _, gap in ipairs(journal:take_gaps()) do found = found + gap.events; end
		end
		local function read()
			local text, behind = journal:read(offset, 40);
			if not text then return false; end
			found = found + select(2, text:gsub("\n", ""));
			offset = behind;
			journal:release(offset);
			count_gaps();
			return true;
		end
		for _ = 1, 60 do
			local chance = math.random(10);
			if chance <= 5 then
				appended = appended + 1;
				assert(journal:append(("%d%s\n"):format(appended, ("x"):rep(math.random(0, 30)))));
			elseif chance <= 8 then
				read();
			elseif chance == 9 then
				local segments = files(directory);
				if segments[1] then os.remove(directory.."/"..segments[math.random(#segments)]); end
			else
				assert(journal:save(1));
				journal:close();
				if math.random(2) == 1 and files(directory)[1] then os.remove(directory.."/"..files(directory)[1]); end
				journal = journals.open(directory, 60, 1000000);
				offset = journal.acked;
				count_gaps();
			end
		end
		while read() do end
		equal(("seed %d: %d"):format(seed, found), ("seed %d: %d"):format(seed, appended));
	end
end

function tests.checkpoints_cover_an_offset_and_nothing_later()
	local known = checkpoints.new();
	equal(known:at(0), nil);
	known:add(100, "0:5 1:7");
	known:add(200, "0:9");
	equal(sorted(known:at(50)), "0:5 1:7");
	equal(sorted(known:at(100)), "0:5 1:7");
	equal(sorted(known:at(101)), "0:9 1:7");
	equal(known:at(201), nil);
end

function tests.an_overtaken_batch_does_not_lower_watermarks()
	local known = checkpoints.new();
	known:add(100, "0:9");
	known:add(200, "0:5");
	equal(known:at(200), "0:9");
end

function tests.the_first_offset_of_a_partition_bounds_everything_before_the_start()
	local known = checkpoints.new();
	known:add(100, "0:5");
	equal(known:at(0), "0:5");
	known:add(200, "1:7");
	known:add(300, "1:8");
	equal(sorted(known:at(0)), "0:5 1:7");
end

function tests.a_batch_without_events_has_no_watermarks()
	local known = checkpoints.new();
	known:add(100, "");
	equal(known:at(100), "");
end

function tests.without_watermarks_from_ingest_nothing_is_known_from_then_on()
	local known = checkpoints.new();
	known:add(100, "0:5");
	known:add(200, nil);
	known:add(300, "0:7");
	equal(known:at(100), nil);
	equal(known:at(300), nil);
end

function tests.checkpoints_are_bounded_and_coarse_only_for_old_offsets()
	local known, count = checkpoints.new(), 100000;
	for number = 1, count do
		known:add(number, "0:"..number);
		assert(#known.list <= 1024);
	end
	for number = 1, count do
		local ended = tonumber(known:at(number):match(":(%d+)"));
		assert(ended >= number and ended - number <= (count - ended) / 8, number);
	end
end

-- A log of three partitions that had records before, and gets batches in any order.
local function new_log()
	local log = { lengths = { [0] = 100, [1] = 100, [2] = 100 }, newest = {} };
	function log:append(owners)
		local touched = {};
		for _, owner in ipairs(owners) do
			local partition = owner % 3;
			self.lengths[partition] = self.lengths[partition] + 1;
			self.newest[owner] = self.lengths[partition];
			touched[#touched + 1] = ("%d:%d"):format(partition, self.newest[owner]);
		end
		return table.concat(touched, " ");
	end
	return log;
end

function tests.watermarks_cover_all_of_an_owner_in_any_order_of_batches()
	local known, log, newest, offset = checkpoints.new(), new_log(), {}, 0;
	local function end_for(owner, at)
		return tonumber(known:at(at):match((owner % 3)..":(%d+)"));
	end
	for _ = 1, 1000 do
		local window, arrivals = {}, {};
		for number = 1, 4 do
			offset = offset + 1;
			window[number] = { offset = offset, owners = { math.random(50), math.random(50) } };
			table.insert(arrivals, math.random(number), window[number]);
		end
		for _, batch in ipairs(arrivals) do batch.watermarks = log:append(batch.owners); end
		for _, batch in ipairs(window) do
			known:add(batch.offset, batch.watermarks);
			for _, owner in ipairs(batch.owners) do newest[owner] = batch.offset; end
		end
		for owner, at in pairs(newest) do assert(end_for(owner, at) >= log.newest[owner]); end
		for partition = 0, 2 do assert((end_for(partition, 0) or math.huge) > 100); end
	end
end

function tests.options_have_defaults()
	local values = read_options {};
	equal(values.id_keys[1], KEY);
	equal(values.ingest[1], "ingest.stanzalake");
	equal(values.query[1], "query.stanzalake");
	equal(values.journal_dir, "/journal");
	equal(values.journal_limit, 1 << 30);
	equal(values.segment_size, 4 << 20);
	equal(values.batch_bytes, 128 << 10);
	equal(values.window, 8);
	equal(values.policy, "roster");
	equal(values.smart, false);
	equal(values.exclude_namespaces["urn:xmpp:jingle-message:0"], true);
	equal(values.exclude_namespaces["http://jabber.org/protocol/chatstates"], true);
end

function tests.a_policy_is_taken_in_the_words_of_the_services_and_of_mod_mam()
	local words = {
		[true] = "always", [false] = "never", ["true"] = "always", ["false"] = "never";
		always = "always", never = "never", roster = "roster";
	};
	for given, policy in pairs(words) do equal(read_options({ stanzalake_policy = given }).policy, policy); end
end

function tests.excluded_namespaces_come_besides_the_defaults()
	for _, given in ipairs { "urn:a, urn:b", { "urn:a", "urn:b" } } do
		local set = read_options({ stanzalake_exclude_namespaces = given }).exclude_namespaces;
		for _, namespace in ipairs { "urn:a", "urn:b", "urn:xmpp:jingle-message:0" } do equal(set[namespace], true); end
		equal(set["urn:c"], nil);
	end
end

function tests.smart_archiving_is_switched_by_words_too()
	for given, smart in pairs { [true] = true, [false] = false, ["true"] = true, ["false"] = false } do
		equal(read_options({ stanzalake_smart = given }).smart, smart);
	end
end

function tests.lists_may_be_written_with_commas()
	local values = read_options { stanzalake_id_keys = KEY..", "..KEY:upper(), stanzalake_ingest = "A.b,c.d" };
	equal(values.id_keys[2], KEY:upper());
	equal(read_options({ stanzalake_id_keys = " "..KEY.." with spaces ,," }).id_keys[1], KEY.." with spaces");
	equal(#values.id_keys, 2);
	equal(table.concat(values.ingest, " "), "a.b c.d");
	equal(table.concat(read_options { stanzalake_ingest = { "e.f" } }.ingest, " "), "e.f");
end

function tests.an_option_that_cannot_be_used_is_named()
	local wrong = {
		id_keys = { "", "short", ("é"):rep(31), {}, 5, { KEY, "short" }, { 5 } };
		ingest = { "", {}, 5, "a@b", "a/b", { 5 } };
		query = { false };
		journal_dir = { "", 5 };
		journal_limit = { "1", 1, 0.5, 1e300, 0 / 0 };
		segment_size = { true };
		batch_bytes = { 1024.5 };
		window = { 0, 65 };
		ack_timeout = { 0, -1, "10" };
		freshness_timeout = { -1, 61 };
		query_timeout = { 0, {} };
		policy = { "sometimes", 1, {}, "" };
		smart = { "yes", 1, "" };
		exclude_namespaces = { 5, true, { 5 }, { "" }, "urn:a b" };
	};
	for name, values in pairs(wrong) do
		for _, value in ipairs(values) do
			local ok, err = pcall(read_options, { ["stanzalake_"..name] = value });
			equal(ok, false);
			equal(err:match("^stanzalake_(%S+) cannot be used: expected "), name);
		end
	end
end

function tests.an_old_lua_is_refused()
	local old = part("mod_stanzalake.lua", { math = {}, _VERSION = "Lua 5.2" });
	local ok, err = pcall(old);
	equal(ok, false);
	assert(err:find("Lua 5.3 or newer; this is Lua 5.2", 1, true));
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
