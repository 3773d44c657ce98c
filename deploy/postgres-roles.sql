-- Roles for the switch's database in PostgreSQL: what was recorded about a transaction can
-- be removed by the archive's alone, and changed by none. For an owner of the tables who
-- may create roles; after `acqswitch ledger migrate`, each time:
--
--   psql -v ON_ERROR_STOP=1 -f postgres-roles.sql acq
--   psql -c "CREATE ROLE acq LOGIN IN ROLE acqswitch_switch" acq
--
-- acqswitch_switch    serve, and every command but ledger migrate and those of acqswitch_archive
-- acqswitch_archive   ledger archive, restore, purge: removes rows of business days, and puts them back
-- acqswitch_report    reads, but no card number (not even sealed) and nothing of merchants
--                     and machines but what transactions have of them

DO $$
DECLARE name TEXT;
BEGIN
    FOREACH name IN ARRAY ARRAY['acqswitch_switch', 'acqswitch_archive', 'acqswitch_report'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', name);
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', name);
    END LOOP;
END $$;

GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO acqswitch_switch;
REVOKE INSERT ON drain, alert_feed FROM acqswitch_switch;
GRANT UPDATE (position) ON drain TO acqswitch_switch;
GRANT UPDATE (state, exceptions, manifest) ON run TO acqswitch_switch;
GRANT UPDATE (position, item) ON alert_feed TO acqswitch_switch;
GRANT UPDATE (state, assignee, action, count, first_at, last_at, hold, risk_type, source, dispositions) ON alert TO acqswitch_switch;
GRANT UPDATE (status, assignee, answer) ON ticket TO acqswitch_switch;
GRANT UPDATE ON merchant, machine, region, model TO acqswitch_switch; -- every change of these is a row of `change`, which nobody changes
GRANT DELETE ON blacklist TO acqswitch_switch;

GRANT SELECT ON ALL TABLES IN SCHEMA public TO acqswitch_archive;
GRANT INSERT, DELETE ON txn, event, batch, batch_item, finding, archived TO acqswitch_archive;
GRANT UPDATE (state) ON archived TO acqswitch_archive;

GRANT SELECT ON batch, batch_item, finding, drain, run, posting, payout, act, archived,
    recon_file, recon_total, recon_exception, recon_act, dispute, dispute_step,
    alert, alert_evidence, alert_act TO acqswitch_report;
DO $$
DECLARE t RECORD;
BEGIN
    FOR t IN SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_name LIKE '%\_version' LOOP
        EXECUTE format('REVOKE INSERT ON %I FROM acqswitch_switch', t.table_name);
    END LOOP;
    FOR t IN SELECT table_name, string_agg(quote_ident(column_name), ', ') AS columns FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name IN ('txn', 'event') AND column_name <> 'pan_sealed' GROUP BY table_name
    LOOP
        EXECUTE format('GRANT SELECT (%s) ON %I TO acqswitch_report', t.columns, t.table_name);
    END LOOP;
END $$;
