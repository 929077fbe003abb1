-- Queues for tests of the core: none of them belongs to a product.
--
--   free     no limit at all              limited  three seats
--   bounded  three seats, five open jobs  fair     owners take turns
set role makeready_owner;

create table makeready.free_jobs partition of makeready.jobs for values in ('free') with (fillfactor = 70);
create table makeready.limited_jobs partition of makeready.jobs for values in ('limited') with (fillfactor = 70);
create table makeready.bounded_jobs partition of makeready.jobs for values in ('bounded') with (fillfactor = 70);
create table makeready.fair_jobs partition of makeready.jobs for values in ('fair') with (fillfactor = 70);

select makeready.queue_create('free', '{"retry_jitter": 0}');
select makeready.queue_create('limited', '{"max_in_flight": 3, "retry_jitter": 0}');
select makeready.queue_create('bounded', '{"max_in_flight": 3, "max_open": 5, "retry_jitter": 0}');
select makeready.queue_create('fair', '{"is_fair": true, "retry_jitter": 0}');

reset role;
