# As docker-library/mariadb.
FROM applications
RUN rm -rf /var/lib/mysql \
    && mkdir -p /var/lib/mysql /run/mysqld \
    && chown -R mysql:mysql /var/lib/mysql /run/mysqld \
    && chmod 1777 /run/mysqld \
    # A guest of User-Mode Linux has no 8 TB of addresses to set aside.
    && printf '[mysqld]\ninnodb_buffer_pool_size = 64M\ninnodb_buffer_pool_size_max = 128M\nperformance_schema = off\nskip_name_resolve\nbind_address = 0.0.0.0\n' \
        > /etc/mysql/mariadb.conf.d/99-small.cnf
COPY wordpress/mariadb-entrypoint /entrypoint
VOLUME /var/lib/mysql
ENTRYPOINT ["/entrypoint"]
CMD ["mariadbd"]
