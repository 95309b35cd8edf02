-- The journal: an append-only log of event lines on disk, the source of truth for unacknowledged events.
--
-- An offset counts bytes since the journal's creation. A segment is a file named by the offset of its first byte; it
-- ends where the next segment begins. Bytes that a crash or a full disk left after the last whole line need no repair:
-- the next segment begins at their offset and hides them. Bytes missing before the next segment are lost lines.
--
-- The number of lines before an offset is kept for each segment and for each end of a read, so that a loss is said in
-- events.

local lfs = require "lfs";

local SEGMENT_NAME = "%020d.ndjson";
local ENOENT = 2;
-- Bytes in which the end of the last whole line is looked for before they are read.
local TAIL = 4096;

local journal_mt = {};
journal_mt.__index = journal_mt;

local function make_directory(path)
	if lfs.attributes(path, "mode") == "directory" then return; end
	local parent = path:match("^(.+)/[^/]+/*$");
	if parent then make_directory(parent); end
	assert(lfs.mkdir(path));
end

local function read_all(path)
	local file = assert(io.open(path, "rb"));
	local text = file:read("a");
	file:close();
	return text;
end

local function segment_path(directory, start)
	return directory.."/"..SEGMENT_NAME:format(start);
end

-- Returns the start of each segment in a directory, in order.
local function find_segments(directory)
	local starts = {};
	for name in lfs.dir(directory) do
		local start = #name == SEGMENT_NAME:format(0):len() and name:match("^(%d+)%.ndjson$");
		if start then starts[#starts + 1] = math.tointeger(tonumber(start)); end
	end
	table.sort(starts);
	return starts;
end

-- Searches from the end; a pattern would match every byte before.
local function last_line_feed(text)
	for i = #text, 1, -1 do
		if text:byte(i) == 10 then return i; end
	end
	return 0;
end

-- Returns the length of all whole lines in bytes, and the last line.
local function whole_lines(text)
	local stop = last_line_feed(text);
	if stop == 0 then return 0; end
	local lines = text:sub(1, stop - 1);
	return stop, lines:sub(last_line_feed(lines) + 1);
end

local function count_lines(text)
	local count, i = 0, text:find("\n", 1, true);
	while i do
		count, i = count + 1, text:find("\n", i + 1, true);
	end
	return count;
end

function journal_mt:segment_path(start)
	return segment_path(self.directory, start);
end

-- Removes segments without a whole line: the next segment may need their name.
function journal_mt:recover()
	self.starts = find_segments(self.directory);
	while self.starts[1] do
		local start = self.starts[#self.starts];
		local size, line = whole_lines(read_all(self:segment_path(start)));
		if line then
			self.written, self.last_line = start + size, line;
			return;
		end
		os.remove(self:segment_path(table.remove(self.starts)));
	end
end

-- Without this file, or with a damaged one, everything is sent again: repeats, never a loss.
-- Returns the numbers of lines before offsets, as saved.
function journal_mt:recover_acked()
	local file = io.open(self.directory.."/acked", "rb");
	local acked, position, rest = (file and file:read("a") or ""):match("^(%d+) (%d+)\n(.*)$");
	if file then file:close(); end
	self.acked = math.tointeger(tonumber(acked)) or 0;
	self.last_position = math.tointeger(tonumber(position)) or 0;
	self.last_ahead = math.tointeger(tonumber((rest or ""):match("^ahead (%d+)\n"))) or 0;
	local saved = {};
	for offset, count in (rest or ""):gmatch("(%d+) (%d+)\n") do
		saved[math.tointeger(tonumber(offset)) or 0] = math.tointeger(tonumber(count));
	end
	return saved;
end

-- Returns the number of lines from a segment's start up to an offset.
function journal_mt:lines_in(start, offset)
	return count_lines(read_all(self:segment_path(start)):sub(1, offset - start));
end

-- Restores the numbers of lines, and counts those that were not saved.
function journal_mt:recover_counts(saved)
	local before;
	for _, start in ipairs(self.starts) do
		self.counts[start] = saved[start] or before and self.counts[before] + self:lines_in(before, start) or 0;
		before = start;
	end
	self.lines = saved[self.written] or before and self.counts[before] + self:lines_in(before, self.written) or 0;
	local start = self:segment_of(self.acked);
	self.counts[self.acked] = self:count_at(self.acked) or saved[self.acked]
		or start and self.counts[start] + self:lines_in(start, self.acked);
end

-- Notes the lines that were there at the last save, and went without an acknowledgement.
function journal_mt:find_lost(saved)
	local first, last = self.starts[1], 0;
	for offset in pairs(saved) do last = math.max(last, offset); end
	if last > self.written then self:lose(self.written, last, saved[last]); end
	-- The next lines get these offsets.
	self.losses = {};
	if first and first > self.acked then self:lose(self.acked, first); end
end

-- Returns the number of lines before an offset, if it is known.
function journal_mt:count_at(offset)
	return offset == self.written and self.lines or self.counts[offset];
end

-- Notes that the lines between two offsets can be read no more; each loss once, however often and in whatever order
-- the offsets are read.
function journal_mt:lose(from, to, lines)
	local known = self.losses;
	local i = 1;
	while known[i] and known[i].to <= from do i = i + 1; end
	while from < to do
		local next_loss = known[i] and known[i].from < to and known[i] or { from = to, to = to };
		if from < next_loss.from then
			table.insert(known, i, { from = from, to = next_loss.from });
			self:add_gap(from, next_loss.from, next_loss.from == to and lines);
			i = i + 1;
		end
		from, i = next_loss.to, i + 1;
	end
end

function journal_mt:add_gap(from, to, lines)
	local start = self:segment_of(from);
	local before, behind = self:count_at(from) or self.counts[start], lines or self:count_at(to);
	local events = before and behind and behind - before;
	-- Bytes that were never a line are no loss.
	if events ~= 0 then table.insert(self.gaps, { bytes = to - from, events = events }); end
end

-- Returns the losses since the last call: their bytes, and their events if these are known.
function journal_mt:take_gaps()
	local gaps = self.gaps;
	self.gaps = {};
	return gaps;
end

-- Opens the journal in a directory, which is created if missing.
--   segment_size: bytes of a segment
--   limit: maximum bytes of unacknowledged lines
local function open(directory, segment_size, limit)
	make_directory(directory);
	local journal = setmetatable({
		directory = directory, segment_size = segment_size, limit = limit;
		-- The number of lines before each segment and each end of a read, and of all.
		counts = {}, lines = 0, gaps = {};
		-- Losses that are noted and not acknowledged: where each begins and ends, in order.
		losses = {};
	}, journal_mt);
	local saved = journal:recover_acked();
	journal:recover();
	-- If a crash lost acknowledged lines, their offsets are not used again.
	journal.written = math.max(journal.written or 0, journal.acked);
	journal:recover_counts(saved);
	journal:find_lost(saved);
	journal.acked = math.max(journal.acked, journal.starts[1] or 0);
	return journal;
end

function journal_mt:close()
	if self.file then self.file:close(); end
	self.file = nil;
end

function journal_mt:start_segment()
	local file, err = io.open(self:segment_path(self.written), "wb");
	if not file then return nil, err; end
	-- Unbuffered: each line is one write(2), and a failed write leaves nothing to be flushed later.
	file:setvbuf("no");
	if self.starts[#self.starts] ~= self.written then
		table.insert(self.starts, self.written);
	end
	self.counts[self.written] = self.lines;
	self.file = file;
	return file;
end

function journal_mt:newest_segment()
	if self.file and self.written - self.starts[#self.starts] >= self.segment_size then
		self:close();
	end
	if self.file then return self.file; end
	return self:start_segment();
end

-- Appends a line, line feed included; the OS has it on return.
-- Returns the offset after the line, or nil and the reason.
function journal_mt:append(line)
	if self.written - self.acked + #line > self.limit then
		return nil, "the journal is at its size limit";
	end
	local file, err = self:newest_segment();
	if not file then return nil, err; end
	local ok, write_err = file:write(line);
	if not ok then
		self:close();
		return nil, write_err;
	end
	self.written, self.lines = self.written + #line, self.lines + 1;
	return self.written;
end

-- Starts another segment if the newest one was deleted: the next lines would go into a file without a name.
function journal_mt:check_newest()
	if self.file and not lfs.attributes(self:segment_path(self.starts[#self.starts]), "mode") then self:close(); end
end

function journal_mt:segment_of(offset)
	for i = #self.starts, 1, -1 do
		if self.starts[i] <= offset then return self.starts[i], self.starts[i + 1] or self.written; end
	end
	return nil, self.starts[1] or self.written;
end

-- Returns how many of the next bytes of a file its whole lines take, if the last one ends near the end. To read all and
-- cut off the rest would copy it.
local function whole_size(file, bytes)
	local start, skipped = file:seek(), math.max(0, bytes - TAIL);
	file:seek("cur", skipped);
	local stop = last_line_feed(file:read(bytes - skipped) or "");
	file:seek("set", start);
	return stop > 0 and skipped + stop or bytes;
end

-- Returns an empty string if there is no whole line, or nil and the reason.
local function read_lines(file, bytes, available)
	if bytes < available then bytes = whole_size(file, bytes); end
	local text, err = file:read(math.min(bytes, available));
	if err then return nil, err; end
	text = text or "";
	local stop = last_line_feed(text);
	if stop == #text then return text; end
	if stop > 0 then return text:sub(1, stop); end
	text = text..(file:read("L") or "");
	return #text <= available and text:sub(-1) == "\n" and text or "";
end

-- Reads whole lines of one segment. Returns nothing if they are lost, or nil and the reason.
function journal_mt:read_segment(start, offset, bytes, available)
	local file, err, code = io.open(self:segment_path(start), "rb");
	if not file then return nil, code ~= ENOENT and err or nil; end
	file:seek("set", offset - start);
	local text, read_err = read_lines(file, bytes, available);
	file:close();
	if text == "" then return nil; end
	return text, read_err;
end

-- Reads whole lines from an offset on: as many as fit into a number of bytes, at least one. Lost lines are passed over.
--   limit: the offset to stop at, if not at the end of the journal
-- Returns the text and the offset after it, with an empty text if all lines up to there are lost; nothing at the end of
-- the journal; nil and the reason on a fault.
function journal_mt:read(offset, bytes, limit)
	limit = limit or self.written;
	if offset >= limit then return; end
	local start, stop = self:segment_of(offset);
	stop = math.min(stop, limit);
	local text, err;
	if start then text, err = self:read_segment(start, offset, bytes, stop - offset); end
	if err then return nil, err; end
	if not text then
		self:check_newest();
		self:lose(offset, stop);
		self.counts[stop] = self:count_at(stop);
		if stop == limit then return "", limit; end
		return self:read(stop, bytes, limit);
	end
	local behind = offset + #text;
	if self.counts[offset] then self.counts[behind] = self.counts[offset] + count_lines(text); end
	return text, behind;
end

-- Iterates over the lines of the newest segment.
function journal_mt:newest_lines()
	local start = self.starts[#self.starts];
	local text = start and read_all(self:segment_path(start)):sub(1, self.written - start) or "";
	return text:gmatch("[^\n]+");
end

-- Deletes all segments, whose lines must be acknowledged.
function journal_mt:remove_segments()
	for _, start in ipairs(self.starts) do os.remove(self:segment_path(start)); end
	self.starts = {};
end

-- Acknowledges everything before an offset.
function journal_mt:release(offset)
	if self:segment_of(self.acked) ~= self.acked then self.counts[self.acked] = nil; end
	self.acked = offset;
	while self.losses[1] and self.losses[1].to <= offset do table.remove(self.losses, 1); end
end

-- Deletes acknowledged segments. The newest one with a line stays, for its last position.
function journal_mt:remove_acknowledged()
	local starts = self.starts;
	while starts[2] and starts[2] <= self.acked and starts[2] < self.written do
		self.counts[starts[1]] = nil;
		os.remove(self:segment_path(table.remove(starts, 1)));
	end
end

-- Returns the lines of the file `acked`: the acknowledged offset and the last position, then the numbers of lines.
function journal_mt:summary(position, ahead)
	local lines = { ("%d %d\n"):format(self.acked, position), ahead and ("ahead %d\n"):format(ahead) };
	local function add(offset)
		local count = self:count_at(offset);
		if count then lines[#lines + 1] = ("%d %d\n"):format(offset, count); end
	end
	for _, start in ipairs(self.starts) do add(start); end
	add(self.acked);
	add(self.written);
	return table.concat(lines);
end

function journal_mt:save_summary(position, ahead)
	local path = self.directory.."/acked";
	local file, err = io.open(path.."~", "wb");
	if not file then return nil, err; end
	local ok, write_err = file:write(self:summary(position, ahead));
	local closed, close_err = file:close();
	if not (ok and closed) then return nil, write_err or close_err; end
	return os.rename(path.."~", path);
end

-- Saves the acknowledged offset, and the last position of the sequence; then deletes acknowledged segments, whose lines
-- a process that is killed in between would take for lost. On a full disk they go all the same: they are what fills it.
--   ahead: the last position of owners who are ahead of the clock, if there are any
function journal_mt:save(position, ahead)
	local ok, err = self:save_summary(position, ahead);
	self:remove_acknowledged();
	return ok, err;
end

return {
	open = open, make_directory = make_directory, find_segments = find_segments, segment_path = segment_path;
};
