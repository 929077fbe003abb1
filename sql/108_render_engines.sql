-- Which engine prints: a choice of the operator, in force from the next claim on.
--
-- The engines are parts of the worker; here are only their names. What an operator sets for one document type wins over
-- what the type asks for, and that over what is set for all. Without a row `chromium` prints.

create table if not exists makeready.render_engines (
  doc_id text        not null constraint render_engines_pk primary key,
  engine text        not null constraint render_engines_engine_is_known check (engine in ('chromium', 'pyppeteer')),
  set_at timestamptz not null
);
comment on table makeready.render_engines is 'Engines that operators have chosen. Change them with makeready.render_engine_set.';
comment on column makeready.render_engines.doc_id is 'The document type; the empty text stands for all that have no row and ask for nothing.';
comment on column makeready.render_engines.engine is 'chromium: our own client over pipes. pyppeteer: the second one, where it is installed.';
comment on column makeready.render_engines.set_at is 'When it was chosen.';

create or replace function makeready.render_engine(document text, asked text default null)
  returns text
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select coalesce((select e.engine from makeready.render_engines e where e.doc_id = document), asked,
                  (select e.engine from makeready.render_engines e where e.doc_id = ''), 'chromium')
$$;
comment on function makeready.render_engine(text, text) is
  'The engine that prints a document type: the operator''s choice for it, else what the type asks for, else the choice for all.';

create or replace function makeready.render_engine_set(document text, engine_name text, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_doc text := coalesce(document, '');
  v_old text;
  v_now timestamptz;
begin
  if v_doc <> '' and not exists (select from makeready.document_types t where t.id = v_doc) then
    raise exception 'there is no document type %', quote_literal(v_doc)
      using errcode = 'MR404', detail = json_build_object('code', 'document_not_found', 'doc_id', v_doc),
            hint = 'select id from makeready.document_types lists them; null stands for all.';
  end if;
  if engine_name is not null and engine_name not in ('chromium', 'pyppeteer') then
    raise exception 'there is no engine %', quote_literal(engine_name)
      using errcode = 'MR422', detail = json_build_object('code', 'validation_failed', 'engine', engine_name),
            hint = 'chromium or pyppeteer; null takes the choice away.';
  end if;
  lock table makeready.render_engines in share row exclusive mode;
  v_now := makeready.now();
  select e.engine into v_old from makeready.render_engines e where e.doc_id = v_doc;
  if engine_name is null then
    delete from makeready.render_engines e where e.doc_id = v_doc;
  else
    insert into makeready.render_engines (doc_id, engine, set_at) values (v_doc, engine_name, v_now)
    on conflict (doc_id) do update set engine = excluded.engine, set_at = excluded.set_at;
  end if;
  perform makeready.audit('render_engine_set', coalesce(nullif(v_doc, ''), 'render'), jsonb_build_object('engine', v_old),
                          jsonb_build_object('engine', engine_name), because);
end
$$;
comment on function makeready.render_engine_set(text, text, text) is
  'Chooses the engine of one document type, or of all (null), from the next claim on: render_engine_set(null, ''pyppeteer'', ''to compare''). Null for the engine takes the choice away.';

grant execute on function makeready.render_engine(text, text) to makeready_worker, makeready_ops;
grant execute on function makeready.render_engine_set(text, text, text) to makeready_ops;
