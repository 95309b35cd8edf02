-- Hashes of threads and of messages' ids are none of addresses any more.
{bodies}
