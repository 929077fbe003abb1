-- Two queues for measuring: one with a limit, one without any. Stored like the queues of the product.

create table if not exists makeready.bench_limited_jobs partition of makeready.jobs for values in ('bench_limited')
  with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
comment on table makeready.bench_limited_jobs is 'Jobs of the queue bench_limited: nothing to do, four at a time.';
select makeready.queue_create('bench_limited', '{"max_in_flight": "4"}');

create table if not exists makeready.bench_free_jobs partition of makeready.jobs for values in ('bench_free')
  with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
comment on table makeready.bench_free_jobs is 'Jobs of the queue bench_free: nothing to do, as many at a time as are claimed.';
select makeready.queue_create('bench_free');
