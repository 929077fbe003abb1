-- POSM, retention: files of old generations go, the rows stay.
--
-- Of each pair the newest `keep_generations` are kept, failed ones counted, and each for `keep_days` after its end; past
-- either of the two a generation may go. Never an active one, and never the newest that is done. First it is marked, and
-- nothing of it can be downloaded any more; its files lose their references and are purged like all unused ones. Once the
-- last object is gone it is `deleted`. A step that was cut short is done again; each asks only about its own cards.

create or replace function makeready.posm_expendable(max_rows integer)
  returns table (generation uuid, cards integer)
  language sql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
  select g.id, g.tables_total
    from (select o.id, o.status, o.finished_at, o.tables_total, o.seq,
                 row_number() over (partition by o.pair_id order by o.version desc) as place,
                 row_number() over (partition by o.pair_id, o.status order by o.version desc) as place_of_status
            from makeready.posm_generations o where o.purging_at is null) g
   cross join makeready.posm_policy p
   where g.status in ('done', 'error')
     and not (g.status = 'done' and g.place_of_status = 1)
     and (g.place > p.keep_generations or g.finished_at < (select makeready.now()) - make_interval(days => p.keep_days))
   order by g.seq limit max_rows
$$;
comment on function makeready.posm_expendable(integer) is 'Generations that may go, oldest first. Internal.';

create or replace function makeready.posm_retention(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_row   record;
  v_count integer := 0;
begin
  for v_row in select * from makeready.posm_expendable(max_rows) loop
    -- Ended it was; an operator's retry may have come first. One that waits for us finds it gone.
    update makeready.posm_generations g set purging_at = makeready.now()
     where g.id = v_row.generation and g.purging_at is null and g.status in ('done', 'error');
    if found then
      perform makeready.files_release(array(select c.id from makeready.posm_cards c where c.generation_id = v_row.generation)
                                      || v_row.generation);
      v_count := v_count + 1 + v_row.cards;
    end if;
    exit when v_count >= max_rows;
  end loop;
  return v_count;
end
$$;
comment on function makeready.posm_retention(integer) is 'Marks generations that may go and lets go of their files; how many rows that were, cards included.';

create or replace function makeready.posm_vanish(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_count integer;
begin
  update makeready.posm_generations g set status = 'deleted', deleted_at = makeready.now()
   where g.id in (select o.id from makeready.posm_generations o
                   where o.purging_at is not null and o.status <> 'deleted'
                     and not exists (select from makeready.posm_cards c join makeready.files f on f.id = c.stored_id where c.generation_id = o.id)
                   order by o.purging_at limit max_rows for no key update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.posm_vanish(integer) is 'Calls those generations deleted whose last object is gone; how many.';
select makeready.chore_create('posm_retention', '1 hour');
select makeready.chore_create('posm_vanish', '60 seconds');

create or replace view makeready.posm_overview as
  select g.id as generation, makeready.posm_state(g.status, j.state) as state, coalesce(r.name, '(bare uuids)') as restaurant, t.name as template,
         g.version, g.tables_done, g.tables_total, g.author, g.created_at, g.scheduled_at, g.started_at, j.attempt, j.run_at,
         case when g.status = 'created' then (select count(*) from makeready.posm_generations o where o.status = 'created' and o.seq < g.seq) end as ahead,
         g.failure_code, g.comment
    from makeready.posm_generations g
    join makeready.posm_templates t on t.id = g.template_id
    left join makeready.restaurants r on r.id = g.restaurant_id
    left join makeready.jobs j on j.queue = 'posm' and j.id = g.id
   where g.status in ('created', 'scheduled')
      or g.seq in (select e.seq from makeready.posm_generations e where e.status = 'error' order by e.seq desc limit 20)
   order by g.status, g.seq;
comment on view makeready.posm_overview is
  'Generations that are active, and the twenty that failed last. ahead: how many wait for admission before it; makeready.posm_policy has the limit.';
create index if not exists posm_generations_failed on makeready.posm_generations (seq) where status = 'error';
grant execute on function makeready.posm_state(text, text) to makeready_ops, makeready_read;
