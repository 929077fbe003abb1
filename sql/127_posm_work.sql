-- POSM, working: what a generation's job is to make, the cards it keeps on the way, and what its end brings about.
-- See 122_posm for the states and locks.

create or replace function makeready.posm_input(generation uuid)
  returns table (generation_version integer, author_name text, made_on date, restaurant uuid, place_facts jsonb, fields jsonb,
                 template uuid, bucket_name text, object_name text, hash_sha256 bytea, byte_count bigint, found_in_it jsonb, assets jsonb,
                 cards_total integer, cards_done integer, stamped_by text)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select g.version, g.author, (g.created_at at time zone 'UTC')::date, g.restaurant_id, g.place_facts, g.fields,
         g.template_id, t.bucket, t.object_key, t.sha256, t.size_bytes, t.inspection,
         (select coalesce(jsonb_object_agg('sha256:' || encode(f.sha256, 'hex'), makeready.file_facts(f)), '{}')
            from makeready.file_references r join makeready.files f on f.id = r.file_id
           where r.refers_id = g.id and f.sha256 in (select makeready.posm_asset_names(g.fields))),
         g.tables_total, g.tables_done, g.stamper
    from makeready.posm_generations g
    join makeready.posm_template_files t on t.id = g.template_file_id
   where g.id = generation
$$;
comment on function makeready.posm_input(uuid) is
  'What a generation is made of: read by its worker, and by whoever makes print files of it. assets: {sha256:…: as file_facts}. No row: there is none.';

create or replace function makeready.posm_input_cards(generation uuid)
  returns table (table_uuid uuid, label text, row_data jsonb, hash_sha256 bytea)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select c.table_id, c.label, c.row_data, c.sha256 from makeready.posm_cards c where c.generation_id = generation order by c.place
$$;
comment on function makeready.posm_input_cards(uuid) is
  'All cards of a generation in their order, with what their values are read from; hash_sha256: of those that are made.';

create or replace function makeready.posm_hold(job uuid, token uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
as $$
begin
  perform 1 from makeready.jobs j
    where j.queue = 'posm' and j.id = job and j.lease = token and (j.deadline_at is null or j.deadline_at > makeready.now()) for no key update;
  if not found then
    perform makeready.refuse_lost('posm', job);
  end if;
end
$$;
comment on function makeready.posm_hold(uuid, uuid) is 'Locks a job if the lease on it is held; else MR001. Internal.';

create or replace function makeready.posm_begin(job uuid, token uuid, stamped_by text)
  returns table (cards_total integer, cards_done integer, cards_forgotten integer)
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_row  makeready.posm_generations;
  v_gone uuid[] := '{}';
begin
  perform makeready.posm_hold(job, token);
  select * into v_row from makeready.posm_generations g where g.id = job and g.status = 'scheduled' for no key update;
  if not found then
    raise exception 'job % makes no generation', job
      using errcode = 'MR404', detail = json_build_object('code', 'generation_not_found', 'generation_id', job),
            hint = 'Ask for generations by makeready.posm_enqueue.';
  end if;
  if v_row.stamper <> stamped_by then
    -- Cards of two stampers may differ in a hair: none of the former one's is mixed with those to come. Their files stay
    -- until those have come, for where no hair differs it is the same object.
    v_gone := array(select c.id from makeready.posm_cards c where c.generation_id = job and c.stored_id is not null);
    update makeready.posm_cards c
       set stored_id = null, size_bytes = null, sha256 = null, crc32 = null, evidence = null, made_at = null
     where c.generation_id = job and c.stored_id is not null;
  end if;
  update makeready.posm_generations g
     set stamper = stamped_by, started_at = coalesce(g.started_at, makeready.now()), tables_done = g.tables_done - cardinality(v_gone)
   where g.id = job
  returning g.tables_done into v_row.tables_done;
  return query select v_row.tables_total, v_row.tables_done, cardinality(v_gone);
end
$$;
comment on function makeready.posm_begin(uuid, uuid, text) is
  'Begins an attempt with a version of the stamper: the first one pins it; where another was pinned, its cards are forgotten. MR001: the lease is lost.';

create or replace function makeready.posm_cards_keep(job uuid, token uuid, made jsonb)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_now   timestamptz;
  v_ids   uuid[];
  v_cards jsonb[];
  v_gone  uuid[];
  v_files uuid[];
  v_new   integer;
  v_done  integer;
  v_total integer;
begin
  perform makeready.posm_hold(job, token);
  v_now := makeready.now();
  select array_agg(c.id order by c.place), array_agg(m.entry order by c.place), count(*) filter (where c.stored_id is null)
    into v_ids, v_cards, v_new
    from jsonb_array_elements(made) m (entry)
    join makeready.posm_cards c on c.generation_id = job and c.table_id = (m.entry ->> 'table')::uuid;
  if (select count(distinct i.id) from unnest(v_ids) i (id)) <> jsonb_array_length(made) then
    raise exception 'some of % cards belong to no table of generation %, or two to one', jsonb_array_length(made), job
      using errcode = 'MR404', detail = json_build_object('code', 'table_not_found', 'generation_id', job), hint = 'None of these was kept.';
  end if;
  v_gone := array(select distinct k.id
                    from unnest(v_ids, v_cards) k (id, entry)
                    join makeready.file_references r on r.refers_id = k.id
                    join makeready.files f on f.id = r.file_id and f.object_key <> k.entry #>> '{stored,key}');
  if cardinality(v_gone) > 0 then
    perform makeready.files_release(v_gone);
  end if;
  v_files := makeready.files_keep(array(select k.entry -> 'stored' from unnest(v_cards) with ordinality k (entry, place) order by k.place), v_ids);
  update makeready.posm_cards c
     set stored_id = k.file_id, size_bytes = (k.entry #>> '{stored,size_bytes}')::bigint, sha256 = decode(k.entry #>> '{stored,sha256}', 'hex'),
         crc32 = (k.entry ->> 'crc32')::bigint, evidence = k.entry -> 'evidence', made_at = v_now
    from unnest(v_ids, v_cards, v_files) k (id, entry, file_id)
   where c.id = k.id;
  update makeready.posm_generations g set tables_done = g.tables_done + v_new where g.id = job
  returning g.tables_done, g.tables_total into v_done, v_total;
  perform makeready.report('posm', job, token, jsonb_build_object('done', v_done, 'total', v_total));
  return v_done;
end
$$;
comment on function makeready.posm_cards_keep(uuid, uuid, jsonb) is
  'Keeps a chunk of stored and verified cards: [{table, stored as file_keep takes it, crc32, evidence}]; how many there are now. Gives the attempt its full time again. The same card again replaces it. MR001: the lease is lost, nothing is kept.';

create or replace function makeready.posm_finish(job uuid, token uuid, facts jsonb default '{}')
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_verdict text;
  v_holes   text[];
begin
  v_verdict := makeready.finish('posm', job, token, facts);
  if v_verdict <> 'ok' then
    return v_verdict;          -- this lease has done so before; the answer was lost
  end if;
  v_holes := array(select c.label from makeready.posm_cards c where c.generation_id = job and c.stored_id is null order by c.place);
  if cardinality(v_holes) > 0 then
    raise exception 'generation % lacks the cards of % tables, the first is %', job, cardinality(v_holes), v_holes[1]
      using errcode = 'MR409', detail = json_build_object('code', 'conflict', 'reason', 'incomplete', 'generation_id', job,
                                                          'missing', to_jsonb(v_holes[:20])),
            hint = 'Keep them by makeready.posm_cards_keep first.';
  end if;
  update makeready.posm_generations g
     set status = 'done', finished_at = makeready.now(), tables_done = g.tables_total, report = facts,
         attempts_used = (select j.attempt from makeready.jobs j where j.queue = 'posm' and j.id = job)
   where g.id = job and g.status = 'scheduled';
  perform makeready.posm_admit_next();
  return v_verdict;
end
$$;
comment on function makeready.posm_finish(uuid, uuid, jsonb) is
  'Ends a generation as done, and admits the next one: ok, or repeat when this lease has done so before. MR409 incomplete while a card is missing; then nothing has changed. MR001: the lease is lost.';

create or replace function makeready.posm_remark(of_generation makeready.posm_generations, turned makeready.jobs)
  returns text
  language sql
  stable
  security definer
  set search_path = ''
as $$
  -- One line, and who reads it learns which table it is about; where nobody said so, how far it had come.
  select left(concat_ws(': ',
           'table ' || coalesce(turned.error ->> 'table', case when turned.error ->> 'code' in ('lease_lost', 'helper_lost', 'stamping_failed', 'stamping_timeout')
                                                                    and of_generation.tables_done < of_generation.tables_total
             then (select c.label || ' or one after it' from makeready.posm_cards c
                    where c.generation_id = of_generation.id and c.stored_id is null order by c.place limit 1) end),
           coalesce(nullif(btrim(regexp_replace(turned.error ->> 'message', '\s+', ' ', 'g')), ''), 'the job was ' || turned.state)), 1000)
$$;
comment on function makeready.posm_remark(makeready.posm_generations, makeready.jobs) is 'Why a generation failed, in one line of at most 1000 characters. Internal.';

create or replace function makeready.posm_job_turned()
  returns trigger
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.posm_generations;
begin
  if new.finished_at is not null then
    update makeready.posm_generations g
       set status = 'error', finished_at = new.finished_at, attempts_used = new.attempt,
           failure_code = case new.state when 'cancelled' then new.state else coalesce(left(nullif(new.error ->> 'code', ''), 100), new.state) end, comment = makeready.posm_remark(g, new)
     where g.id = new.id and g.status in ('created', 'scheduled')
    returning * into v_row;
    if found then
      if new.state <> 'cancelled' then
        perform makeready.alert('error', 'posm_generation_failed',
                  jsonb_build_object('generation_id', v_row.id, 'restaurant_id', v_row.restaurant_id, 'template_id', v_row.template_id,
                                     'version', v_row.version, 'code', v_row.failure_code, 'attempts', v_row.attempts_used), v_row.id::text);
      end if;
      perform makeready.posm_admit_next();
    end if;
    return null;
  end if;
  if old.state = 'waiting' then        -- posm_admit has said so before; an operator's retry has not
    if exists (select from makeready.posm_generations g where g.id = new.id and g.status = 'created') then
      raise exception 'generation % waits for admission', new.id
        using errcode = 'MR409', detail = json_build_object('code', 'conflict', 'reason', 'not_admitted', 'generation_id', new.id),
              hint = 'Raise posm_policy.max_active by makeready.posm_policy_set, or cancel an active one.';
    end if;
    return null;
  end if;
  perform 1 from makeready.posm_pairs p where p.id = (select g.pair_id from makeready.posm_generations g where g.id = new.id) for no key update;
  update makeready.posm_generations g
     set status = 'created', failure_code = null, comment = null, finished_at = null, scheduled_at = null
   where g.id = new.id and g.status = 'error' and g.purging_at is null
     and not exists (select from makeready.posm_generations n where n.pair_id = g.pair_id and n.status in ('created', 'scheduled'));
  if not found then
    -- It ends again by itself: one such job must not stop a redrive of many.
    update makeready.jobs j
       set state = 'cancelled', finished_at = makeready.now(),
           error = jsonb_build_object('code', 'superseded', 'message', 'another generation of its template is active, or its files are gone')
     where j.queue = 'posm' and j.id = new.id;
    return null;
  end if;
  -- Admission follows: many may be retried in one statement, and the gate is the last lock that anybody takes.
  update makeready.jobs j set state = 'waiting', run_at = 'infinity' where j.queue = 'posm' and j.id = new.id;
  return null;
end
$$;
comment on function makeready.posm_job_turned() is
  'Carries an end other than success, and an operator''s retry, over to the generation. A retried one waits for admission as a new one does; it is cancelled again when another one of its pair is active, or retention has taken its files.';

-- A claim, a beat, a retry of a failure and a success do not fire it.
create or replace trigger posm_jobs_reach_the_generation
  after update of state on makeready.posm_jobs
  for each row
  when (old.state is distinct from new.state
        and (new.state in ('dead', 'cancelled', 'expired') or old.state in ('dead', 'cancelled', 'expired')
             or old.state = 'waiting' and old.run_at = 'infinity' and new.state = 'queued'))
  execute function makeready.posm_job_turned();
comment on trigger posm_jobs_reach_the_generation on makeready.posm_jobs is
  'Every end but success, a retry by an operator, and an admission reach the generation.';

create or replace function makeready.posm_cancel(generation uuid, because text default null)
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.posm_generations;
begin
  perform 1 from makeready.jobs j where j.queue = 'posm' and j.id = generation for no key update;
  v_row := makeready.posm_find(generation);
  if v_row.status not in ('created', 'scheduled') then
    raise exception 'generation % is % already', generation, v_row.status
      using errcode = 'MR409', detail = json_build_object('code', 'conflict', 'reason', 'ended', 'generation_id', generation, 'status', v_row.status),
            hint = 'Only an active one can be cancelled.';
  end if;
  perform makeready.cancel('posm', generation, because);
  return (select makeready.posm_state(g.status, j.state) from makeready.posm_generations g
            left join makeready.jobs j on j.queue = 'posm' and j.id = g.id where g.id = generation);
end
$$;
comment on function makeready.posm_cancel(uuid, text) is
  'Cancels an active generation and returns its state: error at once, or in-progress while its worker is told to stop. MR404, MR409 when it has ended. Audited.';

create or replace function makeready.posm_find(generation uuid)
  returns makeready.posm_generations
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.posm_generations;
begin
  select * into v_row from makeready.posm_generations g where g.id = generation;
  if not found then
    raise exception 'there is no generation %', coalesce(generation::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'generation_not_found', 'generation_id', generation),
            hint = 'makeready.posm_generation_list() lists them.';
  end if;
  return v_row;
end
$$;
comment on function makeready.posm_find(uuid) is 'The generation; MR404. Internal.';

create or replace function makeready.posm_refuse_deleted(of_row makeready.posm_generations)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if of_row.purging_at is not null then
    raise exception 'the files of generation % are not kept any more', of_row.id
      using errcode = 'MR410', detail = json_build_object('code', 'generation_deleted', 'generation_id', of_row.id,
                                                          'deleted_at', coalesce(of_row.deleted_at, of_row.purging_at)),
            hint = 'Generate anew.';
  end if;
end
$$;
comment on function makeready.posm_refuse_deleted(makeready.posm_generations) is 'Raises MR410 for a generation that retention has taken. Internal.';

create or replace function makeready.posm_retry(generation uuid, because text default null)
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row  makeready.posm_generations;
  v_jobs integer;
begin
  perform 1 from makeready.jobs j where j.queue = 'posm' and j.id = generation for no key update;
  get diagnostics v_jobs = row_count;
  v_row := makeready.posm_find(generation);
  perform 1 from makeready.posm_pairs p where p.id = v_row.pair_id for no key update;
  v_row := makeready.posm_find(generation);
  perform makeready.posm_refuse_deleted(v_row);
  perform makeready.posm_refuse_active(v_row.pair_id);
  if v_row.status <> 'error' then
    raise exception 'generation % is %, only one that failed can be made again', generation, v_row.status
      using errcode = 'MR409', detail = json_build_object('code', 'conflict', 'reason', 'not_failed', 'generation_id', generation, 'status', v_row.status),
            hint = 'Generate anew.';
  end if;
  if v_jobs > 0 then
    perform makeready.retry('posm', generation, because);
  else                          -- its job was pruned: another one under the same id
    perform makeready.enqueue('posm', jsonb_build_object('generation_id', generation), generation, due => 'infinity',
                              owner_key => coalesce(v_row.restaurant_id::text, ''), batch_key => v_row.restaurant_id);
    update makeready.posm_generations g
       set status = 'created', failure_code = null, comment = null, finished_at = null, scheduled_at = null
     where g.id = generation and g.status = 'error' and g.purging_at is null;
    perform makeready.audit('retry', 'posm/' || generation, jsonb_build_object('state', 'pruned'), '{"state": "waiting"}', because);
  end if;
  perform makeready.posm_refuse_deleted(makeready.posm_find(generation));      -- retention may have come first at the last moment
  perform makeready.posm_admit_next();
  return (select g.status from makeready.posm_generations g where g.id = generation);
end
$$;
comment on function makeready.posm_retry(uuid, text) is
  'Makes a failed generation again, under the same version, from the first card that is missing, with all its attempts before it; returns its state: scheduled, or created until there is room. MR404, MR409 when it has not failed or another one of its pair is active, MR410. Audited.';

grant execute on function makeready.posm_input(uuid), makeready.posm_input_cards(uuid) to makeready_http, makeready_worker, makeready_ops;
grant execute on function makeready.posm_begin(uuid, uuid, text), makeready.posm_cards_keep(uuid, uuid, jsonb),
  makeready.posm_finish(uuid, uuid, jsonb) to makeready_worker;
grant execute on function makeready.posm_cancel(uuid, text), makeready.posm_retry(uuid, text) to makeready_http, makeready_ops;
