-- POSM: QR table cards. A generation is a template, settings and a set of tables, and ends in one verified card a table.
--
-- A *template* is a designer's PDF with settings that say what is put where. *Generate* freezes all of it: the file, the
-- settings, every table's data. A generation belongs to a *pair*, its restaurant and template; bare uuids have no
-- restaurant, their pair is author and template. A pair has one active generation at most, and its versions have no gaps.
--
--   posm_generations.status   created ──admitted──► scheduled ──► done ─────┐
--                                ▲                     │                    ├── retention ──► deleted
--                                └── operator's retry ─┴──► error ──────────┘
--
-- `created` waits for admission: at most `posm_policy.max_active` generations are scheduled or in progress. Its job is
-- waiting with run_at infinity until `posm_admit` queues it. `in-progress` is read from the job, so nothing is written at a
-- claim, and a retry stays `scheduled`. Only an operator's retry of an ended one begins anew, behind the others.
--
-- Cards are committed in chunks while a job runs; the next attempt goes on at the first card that is missing. The first
-- attempt pins the version of the stamper: another one begins anew, so a generation is never stamped by two. `done` is
-- refused while a card has no file. Every other end of the job reaches the generation through one trigger.
--
-- Locks are taken in one order: job, pair, generation, its cards, and last the row of `posm_policy`, behind which active
-- generations are counted. Whoever asks for a generation holds its pair, and no job that exists.

create table if not exists makeready.posm_jobs partition of makeready.jobs for values in ('posm')
  with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
comment on table makeready.posm_jobs is 'Jobs of the queue posm: each makes the cards of one generation, whose id it has.';
-- One attempt and three retries, whether an attempt failed or its worker was lost; the time is for one chunk of cards.
select makeready.queue_create('posm', '{"attempt_limit": "5 minutes", "max_attempts": "4", "max_lost": "4",
                                        "retry_base": "2 seconds", "retry_factor": "4", "retry_cap": "2 minutes"}');

create table if not exists makeready.posm_policy (
  only_row           boolean not null default true constraint posm_policy_pk primary key
                             constraint posm_policy_has_one_row check (only_row),
  max_active         integer not null default 2 constraint posm_policy_max_active_is_bounded check (max_active between 0 and 1000),
  keep_generations   integer not null default 10 constraint posm_policy_keeps_a_generation check (keep_generations between 1 and 10000),
  keep_days          integer not null default 90 constraint posm_policy_keeps_a_day check (keep_days between 1 and 36500),
  max_tables         integer not null default 1000 constraint posm_policy_max_tables_is_bounded check (max_tables between 1 and 5000),
  max_template_bytes bigint  not null default 20971520
                             constraint posm_policy_max_template_bytes_is_bounded check (max_template_bytes between 1024 and 104857600),
  link_template      text    constraint posm_policy_link_has_one_uuid
                             check (length(link_template) <= 500 and link_template ~ '^https?://[^\s/{}]+[^\s{}]*\{uuid\}[^\s{}]*$')
);
comment on table makeready.posm_policy is 'Policy of generations; changed by posm_policy_set. Its row is the gate behind which active ones are counted.';
comment on column makeready.posm_policy.only_row is 'There is one row.';
comment on column makeready.posm_policy.max_active is 'Generations scheduled or in progress at any moment; the others wait as created.';
comment on column makeready.posm_policy.keep_generations is 'Generations kept of each pair: the newest ones.';
comment on column makeready.posm_policy.keep_days is 'Days a generation is kept after its end; the newest that is done stays whatever its age.';
comment on column makeready.posm_policy.max_tables is 'Cards of one generation at most.';
comment on column makeready.posm_policy.max_template_bytes is 'Size of a template''s PDF at most.';
comment on column makeready.posm_policy.link_template is 'The link of a table that has none of its own, with {uuid} in it. Null: nothing is printed for such tables.';
insert into makeready.posm_policy default values on conflict do nothing;

create or replace function makeready.posm_policy_read()
  returns makeready.posm_policy language sql stable security definer set search_path = ''
as $$ select p.* from makeready.posm_policy p $$;
comment on function makeready.posm_policy_read() is 'The policy of generations.';

create or replace function makeready.posm_policy_set(active_limit integer default null, generations_kept integer default null,
    days_kept integer default null, tables_limit integer default null, template_limit bigint default null, link text default null,
    because text default null)
  returns makeready.posm_policy
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.posm_policy;
  v_new makeready.posm_policy;
begin
  select * into v_old from makeready.posm_policy p for no key update;
  update makeready.posm_policy p
     set max_active = coalesce(active_limit, p.max_active), keep_generations = coalesce(generations_kept, p.keep_generations),
         keep_days = coalesce(days_kept, p.keep_days), max_tables = coalesce(tables_limit, p.max_tables),
         max_template_bytes = coalesce(template_limit, p.max_template_bytes), link_template = coalesce(link, p.link_template)
  returning * into v_new;
  perform makeready.audit('posm_policy_set', 'posm', to_jsonb(v_old) - 'only_row', to_jsonb(v_new) - 'only_row', because);
  perform makeready.posm_admit_next();
  return v_new;
exception when check_violation then
  raise exception 'the policy of cards cannot be so: %', sqlerrm
    using errcode = 'MR422', detail = json_build_object('code', 'validation_failed', 'active_limit', active_limit,
            'generations_kept', generations_kept, 'days_kept', days_kept, 'tables_limit', tables_limit, 'template_limit', template_limit, 'link', link),
          hint = '0 to 1000 active, 1 or more kept, 1 to 5000 tables, 1 KB to 100 MB, and a link such as https://example.com/t/{uuid}.';
end
$$;
comment on function makeready.posm_policy_set(integer, integer, integer, integer, bigint, text, text) is
  'Changes the policy of generations from now on; what is left out stays: posm_policy_set(link => ''https://example.com/t/{uuid}''). Audited. MR422.';

create or replace function makeready.posm_link_seed(link text)
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if exists (select from makeready.posm_policy p where p.link_template is not null) then
    return false;             -- what operators have said stays
  end if;
  perform makeready.posm_policy_set(link => posm_link_seed.link, because => 'the setting of a process');
  return true;
end
$$;
comment on function makeready.posm_link_seed(text) is 'Sets the common link as a process is configured with it, unless there is one: true if it was set. Audited. MR422.';

create or replace function makeready.posm_link(table_uuid uuid, own_url text)
  returns text
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select coalesce(own_url, (select replace(p.link_template, '{uuid}', table_uuid::text) from makeready.posm_policy p))
$$;
comment on function makeready.posm_link(uuid, text) is 'The link of a table: its own, else the policy''s; null when there is neither.';

create or replace function makeready.posm_admit(max_rows integer default 1000)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_most integer;
  v_ids  uuid[];
begin
  perform makeready.refuse_unless_read_committed('posm_admit');
  -- The gate. What is counted behind it is what those before have left.
  select p.max_active into v_most from makeready.posm_policy p for no key update;
  v_most := v_most - (select count(*) from makeready.posm_generations g where g.status = 'scheduled');
  if v_most <= 0 then
    return 0;
  end if;
  v_ids := array(select j.id from makeready.posm_generations g join makeready.jobs j on j.queue = 'posm' and j.id = g.id
                  where g.status = 'created' and j.state = 'waiting'
                  order by g.seq limit least(v_most, max_rows) for no key update skip locked);
  update makeready.posm_generations g set status = 'scheduled', scheduled_at = makeready.now() where g.id = any (v_ids) and g.status = 'created';
  update makeready.jobs j set state = 'queued', run_at = makeready.now() where j.queue = 'posm' and j.id = any (v_ids) and j.state = 'waiting';
  if cardinality(v_ids) > 0 then
    perform makeready.wake('posm');
  end if;
  return cardinality(v_ids);
end
$$;
comment on function makeready.posm_admit(integer) is
  'Schedules the generations that have waited longest, while fewer than posm_policy.max_active are scheduled or in progress; how many. Exact, behind a gate: call it bare, after the commit. A chore calls it each minute.';
select makeready.chore_create('posm_admit', '60 seconds');

create or replace function makeready.posm_admit_next()
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set lock_timeout = '500ms'
as $$
begin
  perform makeready.posm_admit();
exception when lock_not_available or deadlock_detected or sqlstate 'MR010' then
  null;      -- somebody's long transaction has the gate: nobody's work hangs on that, the chore admits within a minute
end
$$;
comment on function makeready.posm_admit_next() is
  'posm_admit for whoever has just made room, or asks for it; where it cannot be had at once, it is left to the chore. Internal.';

grant execute on function makeready.posm_link_seed(text) to makeready_ops;
grant execute on function makeready.posm_policy_read(), makeready.posm_link(uuid, text) to makeready_http, makeready_ops;
grant execute on function makeready.posm_policy_set(integer, integer, integer, integer, bigint, text, text) to makeready_http, makeready_ops;
grant execute on function makeready.posm_admit(integer) to makeready_app, makeready_http, makeready_worker, makeready_ops;
